"""Measures of the house: how much of it a stranger must know to follow one thing."""

import ast
import inspect
from collections import defaultdict

import pytest

from odenet import ResODERegressor
from tests.whole.moves import moves_of_fit, moves_of_predict
from tests.whole.test_architecture import FOLDER, MODULES, name_of

MOST_ANCESTORS = 12  # with the class itself; MLPRegressor of scikit-learn has 9
MOST_PRIVATE_METHODS = 30  # with those of scikit-learn; MLPRegressor has 27
# Private names that live in more than one file, each with its reason.
SHARED_NAMES = {
    "_parameter_constraints": "scikit-learn demands it of everything with parameters",
    "_predictor": "what a fitted estimator owns; public names are for its users",
    "_plan": "a hook of BaseResODE",
    "_read_anew": "a hook of BaseResODE",
    "_resolved_solver": "a hook of BaseResODE",
    "_start": "a hook of BaseResODE, and one of FlowOptimizer",
    "_advance": "a hook of FlowOptimizer, whose subclasses are public",
    "_evaluate": "FlowOptimizer's, for its subclasses",
    "_progress": "FlowOptimizer's, for its subclasses",
    "_relative_error": "FlowOptimizer's, for its subclasses",
}


def private_names(tree):
    """Names of one leading underscore: defined, read, written or as attributes."""
    kinds = {
        ast.FunctionDef: "name",
        ast.ClassDef: "name",
        ast.Attribute: "attr",
        ast.Name: "id",
    }
    names = (getattr(n, kinds[type(n)]) for n in ast.walk(tree) if type(n) in kinds)
    return {n for n in names if n.startswith("_") and n.strip("_") and n[1] != "_"}


def test_a_private_name_lives_in_one_file():
    where = defaultdict(set)
    for path in MODULES:
        for name in private_names(ast.parse(path.read_text())):
            where[name].add(name_of(path))
    shared = {name for name, files in where.items() if len(files) > 1}
    assert shared == set(SHARED_NAMES)
    assert len(SHARED_NAMES) <= 10


def test_estimators_have_few_ancestors():
    assert len(ResODERegressor.__mro__) <= MOST_ANCESTORS


def test_estimators_have_few_private_methods_from_few_files():
    names = [n for n in dir(ResODERegressor) if n.startswith("_") and n[1] != "_"]
    methods = [getattr(ResODERegressor, name) for name in names]
    methods = [inspect.unwrap(method) for method in methods if callable(method)]
    assert len(methods) <= MOST_PRIVATE_METHODS
    files = {inspect.getsourcefile(method) for method in methods}
    assert len([f for f in files if f.startswith(str(FOLDER))]) <= 4


def test_every_module_has_a_test_file_of_its_name():
    tests = FOLDER.parent / "tests"
    if not tests.exists():
        pytest.skip("needs a clone of the repository")
    for path in MODULES:
        if path.stem == "_version":
            continue
        *packages, module = path.relative_to(FOLDER).with_suffix("").parts
        folders = [package.lstrip("_") for package in packages]
        test = tests.joinpath(*folders, f"test_{module.lstrip('_')}.py")
        assert test.exists(), f"{name_of(path)} lacks {test.relative_to(tests.parent)}"


@pytest.fixture
def unfitted():
    return ResODERegressor(8, width=8, flow_time=1.0, random_state=0)


def test_moves_between_files(unfitted, rng):
    """They do not grow: each number is what was counted when it was written down."""
    X = rng.normal(size=(60, 3))
    y = X[:, 0]
    assert moves_of_fit(unfitted, X, y) <= MOVES["fit"]
    model = unfitted.fit(X, y)
    model.predict(X)  # tries out the products of its shape, which a process does once
    assert moves_of_predict(model, X) <= MOVES["predict"]
    assert moves_of_predict(model.to_ode(rtol=1e-2), X) <= MOVES["predict of the ODE"]


# Counted as tests/whole/moves.py says; before the estimators owned parts: 60, 35, 63.
# A loss is found by its name, checks the targets and decodes the outputs: 5, 1 and 1.
# Rows keep their places in the table, by which a score of held-out ones finds them: 2.
# One file tells dense inputs from sparse rows, which adds 1, 3 and 2.
# A prediction takes the ends of a network in float64 and its layers in float32: 3, and
# 1 of the ODE, since one function goes through the rows of both.
# What is learnt of rows goes through the group of processes that have them: 31.
# A reading says how its rows are had, since those of some are in a file: 8.
# Rows are copied some at a time, and encoded from the table, which saves memory: 15.
# Columns of 40 rows have bins, whose edges are learnt one column at a time: 20, 1, 1.
MOVES = {"fit": 147, "predict": 26, "predict of the ODE": 27}
