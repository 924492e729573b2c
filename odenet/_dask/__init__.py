"""Estimators that fit on the workers of Dask, and predict on them."""
