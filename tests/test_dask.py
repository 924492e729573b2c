"""The public path of the estimators of Dask, where there may be no Dask."""

import subprocess
import sys

import pytest

import odenet.dask


def test_the_path_has_the_estimators_and_needs_no_dask_to_be_imported():
    names = ["DaskResODEClassifier", "DaskResODERegressor"]
    assert odenet.dask.__all__ == names
    code = "import odenet.dask, sys; print({'dask', 'distributed'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert run.stdout.strip() == b"set()"


@pytest.mark.parametrize("name", odenet.dask.__all__)
def test_without_dask_a_fit_names_the_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=rf"{name} needs Dask: .*-learn\[dask\]"):
        getattr(odenet.dask, name)().fit([[0.0]], [0.0])
