"""Estimators for Arrays and DataFrames of Dask, which fit where the rows are.

They need the extra "dask": ``pip install "odenet-learn[dask]"``.
"""

from odenet._dask.classifier import DaskResODEClassifier
from odenet._dask.regressor import DaskResODERegressor

__all__ = ["DaskResODEClassifier", "DaskResODERegressor"]
