"""Imports point down: a module knows only those of lower layers."""

import ast
from pathlib import Path

import pytest

import odenet

LAYERS = [
    {
        "schemes",
        "_activations",
        "_cuda_graph",
        "_chebyshev",
        "_resampling",
        "_workspace",
        "_validation",
        "_devices",
        "_schedules",
        "_ode_predictions",
        "_depth_adam",
        "_averaging",
        "_standardizer",
        "_normal_scores",
        "_augmentation",
        "_files",
        "_onnx_graph",
        "_history",
        "_version",
    },
    {
        "_stack",
        "_stacked",
        "_rows",
        "_standardizer",
        "_normal_scores",
        "_columns",
        "_display",
        "_losses",
        "_vector_field",
    },
    {"_rebuilt", "_gradients", "_columns", "_conv_module"},
    {"_module", "_flow", "_encoder"},
    {"solvers", "_diagnostics", "_tangent_kernel"},
    {"_data", "_onnx_inputs", "_onnx_network"},
    {"_ode"},
    {"_gap"},
    {"_depth_walk"},
    {"_refinement", "_coarse_to_fine"},
    {"_callbacks", "_monitor"},
    {"_training"},
    {
        "_classification",
        "_inference",
        "_preparation",
        "_depth",
        "_fitting",
        "_onnx",
        "_persistence",
        "_summary",
        "_together",
    },
    {"_base", "_sweep", "_image_training"},
    {"_estimators", "_path_search", "_images"},
    {"_cv"},
    {
        "_loss_curve_display",
        "_weight_profile_display",
        "_depth_smoothness_display",
        "_trajectory_display",
    },
]
FOLDER = Path(odenet.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def imported_modules(name):
    """Modules of the package that a module imports."""
    for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "odenet":
            yield node.module.partition(".")[2]
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("odenet"))


def layer(name):
    return next(i for i, modules in enumerate(LAYERS) if name in modules)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name):
    assert all(layer(other) < layer(name) for other in imported_modules(name))


def test_three_files_know_skorch():
    knowing = [
        name for name in MODULES if "from skorch" in (FOLDER / f"{name}.py").read_text()
    ]
    assert knowing == ["_callbacks", "_monitor", "_training"]
