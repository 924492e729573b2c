"""The only imports of scikit-learn's private names, and checks that need them.

No other file of the package imports a name that scikit-learn calls private: if a
release moves one, only this file changes.
"""

from collections.abc import Iterable
from inspect import signature
from numbers import Integral

import numpy as np
from sklearn.base import _fit_context as fit_context
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._missing import is_pandas_na
from sklearn.utils._optional_dependencies import (
    check_matplotlib_support,
    check_pandas_support,
)
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    RealNotInt,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils._set_output import _get_adapter_from_container as adapter_of
from sklearn.utils.validation import (
    _check_monotonic_cst,
    _check_sample_weight,
    _generate_get_feature_names_out,
)

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:
        """Stands in for the class of scikit-learn 1.9, where it is missing."""


__all__ = [
    "CALLBACK_STATE",
    "CallbackSupportMixin",
    "Count",
    "Interval",
    "RealNotInt",
    "SITE",
    "Splits",
    "StrOptions",
    "adapter_of",
    "check_matplotlib_support",
    "check_monotonic_cst",
    "check_pandas_support",
    "check_sample_weight",
    "feature_names_out",
    "fit_context",
    "is_pandas_na",
    "linked_to_site",
    "safe_indexing",
    "takes_sample_weight",
    "validate_parameters",
]


# Where the workflow site.yml publishes the site.
SITE = "https://odenet-developers.github.io/odenet/"

# The beginnings of the names of attributes that scikit-learn's callbacks set and clear.
CALLBACK_STATE = ("_skl_", "_callback")


class Count(Interval):
    """A constraint for parameters: an integer from some number on, and no bool.

    Parameters
    ----------
    least : int, default=1
    """

    def __init__(self, least=1):
        super().__init__(Integral, least, None, closed="left")

    def is_satisfied_by(self, val):
        """Tell whether a value is allowed; to Python, True is an integer."""
        return not isinstance(val, bool | np.bool_) and super().is_satisfied_by(val)


class Splits(HasMethods):
    """A constraint for parameters: a splitter, or an iterable of splits."""

    def __init__(self):
        super().__init__(["split", "get_n_splits"])

    def is_satisfied_by(self, val):
        """Tell whether a value is allowed; a text is an iterable of nothing useful."""
        is_iterable = isinstance(val, Iterable) and not isinstance(val, str | bytes)
        return is_iterable or super().is_satisfied_by(val)

    def __str__(self):
        return f"{super().__str__()} or an iterable"


def linked_to_site(cls, module=None):
    """Let the "?" of scikit-learn's picture lead to the page of a class on the site.

    A decorator of classes. It holds for subclasses, too, if they are classes of odenet.
    scikit-learn fills in the public module of a class and its name, from which
    autosummary makes the name of a page; ``module`` is told where it is not the parent
    of the file that the class is in.
    """
    if module is not None:
        cls._doc_link_url_param_generator = lambda self: {
            "estimator_module": module,
            "estimator_name": type(self).__name__,
        }
    cls._doc_link_module = "odenet"
    cls._doc_link_template = (
        f"{SITE}api/generated/{{estimator_module}}.{{estimator_name}}.html"
    )
    return cls


def validate_parameters(constraints, estimator):
    """Raise scikit-learn's own error for a parameter that is not allowed."""
    validate_parameter_constraints(
        constraints, estimator.get_params(deep=False), type(estimator).__name__
    )


def check_sample_weight(sample_weight, X):
    """Return weights as float64: one for every row, not negative, not all zero.

    None stands for weights of one. Wrong weights raise the errors of scikit-learn.
    """
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
    # scikit-learn has an option for this check, but its error does not show the value.
    if (weight < 0).any():
        raise ValueError(
            f"Negative values in data passed to `sample_weight`: {weight.min()}."
        )
    if not (weight > 0).any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight


def check_monotonic_cst(estimator, monotonic_cst):
    """Return the constraint of every feature, -1, 0 or 1, shape (n_features,).

    Wrong ones raise the errors of scikit-learn, which takes arrays of any dimension.
    """
    signs = _check_monotonic_cst(estimator, monotonic_cst)
    if signs.ndim != 1:
        raise ValueError(
            f"`monotonic_cst` must have one entry for each feature, got an array of "
            f"shape {signs.shape}."
        )
    return signs


def takes_sample_weight(scorer):
    """Tell whether a scorer takes weights of the samples."""
    if hasattr(scorer, "_accept_sample_weight"):  # one of scikit-learn's own
        return scorer._accept_sample_weight()
    parameters = signature(scorer).parameters.values()
    return any(p.name == "sample_weight" or p.kind == p.VAR_KEYWORD for p in parameters)


def feature_names_out(transformer, n_columns, input_features=None):
    """Return names for the columns that a transformer returns: its class and a number.

    They are those of scikit-learn's ClassNamePrefixFeaturesOutMixin.
    """
    return _generate_get_feature_names_out(transformer, n_columns, input_features)
