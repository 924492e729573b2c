"""Values survive as data; what is no data is refused on both ways."""

import io
import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from odenet import ResODERegressor
from odenet._export.plain_data import NotData, classes_of_names, from_data, to_data
from odenet._tables.standardizer import Standardizer
from odenet.schemes import SCHEMES, GaussianProcess
from odenet.solvers import SGD, SOLVERS, Flow
from tests.export.same import assert_same


def draw(depth, shape, generator):
    return torch.zeros(depth, *shape)


def through_json(value):
    arrays = {}
    text = json.dumps(to_data(value, arrays), allow_nan=False)
    return from_data(json.loads(text), arrays)


VALUES = [
    None,
    -0.0,
    1e-310,
    float("nan"),
    float("-inf"),
    2**70,
    "$text",
    [1, (2, [3.0, ("x",)])],
    {"$key": 1, "b": 2},
    {1: "a", (2, None): "b", False: "c"},
    {},
    (),
    np.zeros((0, 3)),
    np.array(3.0, dtype=np.float32),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([["a", None], [1, 2.5]], dtype=object),
    np.array(["a", "bcd"]),
    Flow(rtol=1e-3),
    GaussianProcess(length_scale=0.3, draws_V=True),
    Standardizer(np.zeros(2), np.ones(2), np.array([1.0, np.inf])),
    torch.device("cpu"),
    {"$float": "nan"},
]


def test_values_survive_as_data():
    for value in VALUES:
        assert_same(value, through_json(value))


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, np.array([1j]), draw, io.StringIO()]
)
def test_other_values_are_refused(value):
    with pytest.raises(NotData):
        to_data([value], {})


def test_a_class_of_the_same_name_is_no_data():
    class Flow:
        pass

    with pytest.raises(NotData):
        to_data(Flow(), {})


def test_a_subclass_is_another_class():
    class Mine(Flow):
        pass

    for cls in (Mine, type("Flow", (Flow,), {})):
        with pytest.raises(NotData, match=cls.__name__):
            to_data(cls(), {})


def test_numbers_of_numpy_become_numbers_of_python():
    for value, expected in [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.float64("inf"), float("inf")),
    ]:
        again = through_json(value)
        assert again == expected
        assert type(again) is type(expected)


def test_arrays_of_numbers_are_beside_the_json_as_little_endian_rows():
    arrays = {}
    first, second = np.arange(6.0).reshape(2, 3).T, np.array([1, 2], dtype=">i4")
    data = to_data([first, second, first], arrays)
    assert data == [{"$array": f"array.{i}"} for i in range(3)]
    assert arrays["array.0"].flags.c_contiguous
    assert arrays["array.1"].tobytes() == b"\x01\0\0\0\x02\0\0\0"
    for data in (np.zeros(2, dtype="M8[s]"), np.zeros(2, dtype="c8")):
        with pytest.raises(NotData, match="not plain data"):
            to_data(data, {})


def test_a_random_state_goes_on_where_it_was():
    state = np.random.RandomState(3)
    state.standard_normal(5)  # an odd number: one more is kept
    again = through_json(state)
    np.testing.assert_array_equal(again.standard_normal(7), state.standard_normal(7))


def test_an_object_is_its_class_and_its_fields():
    data = to_data(GaussianProcess(0.5, 2.0), {})
    fields = {"length_scale": 0.5, "scale": 2.0, "draws_V": False}
    assert data == {"$object": ["GaussianProcess", fields]}
    name, fields = to_data(SGD(momentum=0.7), {})["$object"]
    assert name == "SGD"
    assert fields == SGD(momentum=0.7).get_params()


def test_what_cannot_have_been_written_is_refused_by_name():
    for data, message in [
        ({"$object": ["Popen", {"args": "echo"}]}, "unknown class: 'Popen'"),
        (
            {"$object": ["Flow", {"rtol": 0.1, "shell": 1, "args": 2}]},
            r"unknown fields of Flow: \['args', 'shell'\]",
        ),
        ({"$eval": "1"}, r"unknown kind of data: '\$eval'"),
        ({"$tuple": [], "$float": "1"}, r"unknown kind of data: '\$tuple'"),
        ({"$array": ["V8", [1], [0]]}, "unknown kind of array: 'V8'"),
    ]:
        with pytest.raises(ValueError, match=message):
            from_data([data], {})


def test_fields_are_checked_before_any_object_is_made(monkeypatch):
    @dataclass
    class Careless:
        a: int = 0

        def __new__(cls, **anything):
            raise AssertionError("made before its fields were checked")

    monkeypatch.setitem(SCHEMES, "careless", object.__new__(Careless))
    with pytest.raises(ValueError, match=r"unknown fields of Careless: \['b'\]"):
        from_data({"$object": ["Careless", {"a": 1, "b": 2}]}, {})


def test_the_position_of_a_random_state_must_be_within_its_key():
    key = [0] * 624
    for position, there in [(0, True), (624, True), (625, False), (-1, False)]:
        data = {"$random_state": ["MT19937", key, position, 0, 0.0]}
        if there:
            assert from_data(data, {}).get_state()[2] == position
        else:
            with pytest.raises(ValueError, match=f"position .*: {position}"):
                from_data(data, {})


# Classes that are registered later


def test_a_registered_solver_can_be_saved_and_loaded(monkeypatch, tmp_path):
    class SlowSGD(SGD):
        """A solver of somebody else."""

    X, y = np.arange(20.0)[:, None], np.arange(20.0)
    model = ResODERegressor(2, width=3, solver=SlowSGD(max_epochs=1), random_state=0)
    model.fit(X, y)
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match="`solver` cannot be saved: SlowSGD"):
        model.save(path)
    with monkeypatch.context() as registered:
        registered.setitem(SOLVERS, "slow", SlowSGD)
        model.save(path)
        loaded = ResODERegressor.load(path)
        assert type(loaded.solver) is SlowSGD
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    with pytest.raises(ValueError, match="unknown class: 'SlowSGD'"):
        ResODERegressor.load(path)


def test_a_registered_scheme_is_known_and_a_function_has_no_fields(monkeypatch):
    @dataclass(frozen=True)
    class Constant:
        value: float = 1.0

        def __call__(self, depth, shape, generator):
            return torch.full((depth, *shape), self.value)

    monkeypatch.setitem(SCHEMES, "constant", Constant())
    monkeypatch.setitem(SCHEMES, "zero", draw)
    assert through_json(Constant(2.0)) == Constant(2.0)
    with pytest.raises(NotData):
        to_data(draw, {})


def test_nobody_takes_the_name_of_a_class_of_the_package(monkeypatch):
    impostor = type("Flow", (SGD,), {})
    monkeypatch.setitem(SOLVERS, "impostor", impostor)
    assert classes_of_names()["Flow"] is Flow
    assert type(through_json(Flow())) is Flow
