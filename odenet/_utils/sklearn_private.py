"""Checks of what users pass in; the one door for scikit-learn's private names."""

import numpy as np
from sklearn.base import _fit_context as fit_context
from sklearn.utils._missing import is_pandas_na
from sklearn.utils._optional_dependencies import (
    check_matplotlib_support,
    check_pandas_support,
)
from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import _check_sample_weight

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn < 1.9

    class CallbackSupportMixin:
        """Stands in where scikit-learn has no callbacks yet."""


__all__ = [
    "CallbackSupportMixin",
    "Interval",
    "StrOptions",
    "check_matplotlib_support",
    "check_pandas_support",
    "check_sample_weight",
    "fit_context",
    "is_pandas_na",
    "validate_parameters",
]


def validate_parameters(constraints, estimator):
    """Raise scikit-learn's own error for a parameter that is not allowed."""
    validate_parameter_constraints(
        constraints, estimator.get_params(deep=False), type(estimator).__name__
    )


def check_sample_weight(sample_weight, X):
    """Weights as float64, one for every row of X, not negative and not all zero."""
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if (weight < 0).any():
        raise ValueError(
            f"Negative values in data passed to `sample_weight`: {weight.min()}."
        )
    if not (weight > 0).any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight
