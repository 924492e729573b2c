"""The rules of the house, see docs/architecture.md."""

import ast
from pathlib import Path

import odenet

FOLDER = Path(odenet.__file__).parent
MODULES = sorted(p for p in FOLDER.rglob("*.py") if p.stem != "__init__")

FLOORS = {
    "_version": -1,  # a single number, which every floor may read
    "schemes": 0,
    "_utils": 0,
    "_optim": 0,
    "_losses": 0,
    "_distributed": 0,
    "losses": 1,
    "_network": 1,
    "_tables": 1,
    "solvers": 1,
    "_diagnostics": 2,
    "_stored": 2,
    "_training": 3,
    "_export": 4,
    "_inspection": 4,
    "_estimators": 5,
    "_dask": 6,
    "_search": 6,
    "dask": 7,
}
MOST_MODULES = 15  # of a folder: more cannot be taken in at a glance


def name_of(path):
    """A module as "package/module"."""
    return path.relative_to(FOLDER).with_suffix("").as_posix()


def package_of(path):
    """The package that a file of odenet is in, or its own name."""
    return name_of(path).split("/")[0]


def imported(path):
    """Modules of odenet that a file imports, as tuples of names below odenet."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "odenet":
            yield tuple(node.module.split(".")[1:])
        if isinstance(node, ast.Import):
            yield from (
                tuple(a.name.split(".")[1:])
                for a in node.names
                if a.name.split(".")[0] == "odenet"
            )


def test_imports_point_down():
    for path in MODULES:
        package = package_of(path)
        for names in imported(path):
            assert names, f"{name_of(path)} imports the package root from inside"
            is_below = FLOORS[names[0]] < FLOORS[package]
            assert names[0] == package or is_below, (name_of(path), names)


def test_folders_can_be_taken_in_at_a_glance():
    folders = {path.parent for path in MODULES}
    sizes = {f.name: len([p for p in MODULES if p.parent == f]) for f in folders}
    assert max(sizes.values()) <= MOST_MODULES, sizes


def test_skorch_is_known_to_the_training_only():
    knowing = {package_of(p) for p in MODULES if "from skorch" in p.read_text()}
    assert knowing == {"_training"}
