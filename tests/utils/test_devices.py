import threading

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV

from odenet import ResODERegressor
from odenet._utils.devices import (
    THREADING_PAYS,
    evaluation_dtype,
    resolve_device,
    resolve_device_or_cpu,
    tiny_numbers_as_zeros,
    to_numpy,
    torch_threads,
)


def test_automatic_device_is_there():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto").type == expected
    assert resolve_device("cpu").type == "cpu"


def test_missing_device():
    for device in ["gpu", "cuda:99", "", "meta:x", "hpu"]:
        with pytest.raises(ValueError, match=r"`device` must be 'auto' or a device"):
            resolve_device(device)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_thin_layers_get_one_thread_and_the_count_is_restored():
    with torch_threads(1000):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(RuntimeError), torch_threads(1000):
        raise RuntimeError
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_threads_that_are_born_meanwhile_keep_the_usual_count():
    """torch gives a thread that computes for the first time what was set last."""

    def count_of_a_new_thread():
        counts = []
        thread = threading.Thread(
            target=lambda: counts.append(torch.get_num_threads()), daemon=True
        )
        thread.start()
        thread.join()
        return counts[0]

    with torch_threads(1000):
        assert count_of_a_new_thread() == 2
    assert count_of_a_new_thread() == 2

    def with_a_count_of_its_own():
        torch.set_num_threads(3)
        assert torch.get_num_threads() == 3  # which makes it its own
        usual = threading.Thread(target=torch.set_num_threads, args=(2,), daemon=True)
        usual.start()
        usual.join()
        with torch_threads(1000):
            seen.append((torch.get_num_threads(), count_of_a_new_thread()))
        seen.append((torch.get_num_threads(), count_of_a_new_thread()))

    seen = []
    thread = threading.Thread(target=with_a_count_of_its_own, daemon=True)
    thread.start()
    thread.join()
    assert seen == [(1, 2), (3, 2)]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_wide_layers_keep_the_threads_there_are():
    with torch_threads(10**9):
        assert torch.get_num_threads() == 2


def test_parallel_searches_do_not_oversubscribe(rng):
    """Each process trains and predicts on its share of the cores."""

    def n_threads(model, X, y):
        seen = [torch.get_num_threads()]
        with torch_threads(10**9):
            seen.append(torch.get_num_threads())
        return float(max(seen))

    search = GridSearchCV(
        ResODERegressor(2, width=4, flow_time=0.1),
        {"alpha": [0.0, 0.1]},
        scoring=n_threads,
        cv=2,
        n_jobs=2,
    )
    search.fit(rng.normal(size=(20, 2)), rng.normal(size=20))
    allowed = max(1, joblib.cpu_count() // 2)
    assert (search.cv_results_["mean_test_score"] <= allowed).all()


@pytest.mark.gpu
@pytest.mark.parametrize("solver", ["flow", "gd", "sgd", "adamw", "soap"])
def test_training_on_a_gpu_is_that_on_the_cpu(solver, rng):
    X = rng.normal(size=(300, 4))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
    settings = {"depth": 8, "solver": solver, "random_state": 0, "dtype": "float64"}
    if solver in ("flow", "gd"):
        settings |= {"flow_time": 5.0, "early_stopping": False}
    models = {
        device: ResODERegressor(**settings, device=device).fit(X, y)
        for device in ("cpu", "cuda")
    }
    assert models["cuda"].module_.V.device.type == "cuda"
    predictions = [model.predict(X) for model in models.values()]
    np.testing.assert_allclose(*predictions, rtol=1e-3, atol=1e-3)


def test_a_device_without_numbers_is_none():
    with pytest.raises(ValueError, match="`device` must be .* got 'meta'"):
        resolve_device("meta")


def test_a_missing_device_gives_way_to_the_cpu_with_a_warning():
    for missing in ("cuda:99", "privateuseone"):
        with pytest.warns(UserWarning, match=f"'{missing}' of this model is not avail"):
            assert resolve_device_or_cpu(missing) == torch.device("cpu")
    assert resolve_device_or_cpu("cpu") == torch.device("cpu")


def test_predictions_are_computed_in_float64_where_the_device_has_it():
    dtypes = {"cpu": torch.float64, "cuda": torch.float64, "mps": torch.float32}
    for name, dtype in dtypes.items():
        assert evaluation_dtype(torch.device(name)) == dtype


def test_tensors_become_arrays_of_float64():
    tensor = torch.tensor([1.5, 2.5], dtype=torch.float16, requires_grad=True)
    array = to_numpy(tensor)
    assert array.dtype == np.float64
    assert array.tolist() == [1.5, 2.5]


@pytest.mark.usefixtures("two_threads")
def test_threads_begin_to_pay_at_their_number():
    with torch_threads(THREADING_PAYS - 1):
        assert torch.get_num_threads() == 1
    with torch_threads(THREADING_PAYS):
        assert torch.get_num_threads() == 2


def half_of_the_smallest():
    """Return half of the smallest usual number, on this thread: tiny, or zero."""
    tiny = torch.full((3,), torch.finfo(torch.float32).tiny)
    return float((tiny * 0.5).sum())


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_flush_denormal(False)
    torch.set_num_threads(before)


needs_the_mode = pytest.mark.skipif(
    not torch.set_flush_denormal(False), reason="the processor has no such mode"
)


@needs_the_mode
@pytest.mark.usefixtures("one_thread")
def test_tiny_numbers_are_zeros_inside_only():
    assert half_of_the_smallest() > 0
    with tiny_numbers_as_zeros():
        assert half_of_the_smallest() == 0
        with tiny_numbers_as_zeros():  # as of a fit that a callback makes
            assert half_of_the_smallest() == 0
        assert half_of_the_smallest() == 0
    assert half_of_the_smallest() > 0
    with pytest.raises(KeyboardInterrupt), tiny_numbers_as_zeros():
        raise KeyboardInterrupt
    assert half_of_the_smallest() > 0


@needs_the_mode
@pytest.mark.usefixtures("one_thread")
def test_who_has_the_mode_keeps_it():
    torch.set_flush_denormal(True)
    with tiny_numbers_as_zeros():
        assert half_of_the_smallest() == 0
    assert half_of_the_smallest() == 0


@needs_the_mode
def test_threads_that_torch_may_begin_do_not_get_the_mode(two_threads):
    """They would keep it for good, and the predictions after a fit are theirs too."""
    with tiny_numbers_as_zeros():
        assert half_of_the_smallest() > 0
