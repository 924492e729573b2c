"""What a file may hold: every attribute by its name, and what its value may be.

The schema is closed. A name that is not in it is refused, and so is a value of another
kind, before anything is set. What several values must have in common (columns, classes,
pixels, shapes of weights) is checked here too.
"""

from math import inf, isnan, prod

import numpy as np

from odenet._diagnostics.conformal import Calibration
from odenet._export.parts import FROZEN
from odenet._losses.base import Loss
from odenet._losses.squared_error import SquaredError
from odenet._tables.columns import Columns, other_columns
from odenet._tables.embeddings.periodic import Periodic
from odenet._tables.embeddings.piecewise_linear import PiecewiseLinear
from odenet._tables.encoder import Encoder
from odenet._tables.normal_scores import NormalScores
from odenet._tables.standardizer import Standardizer
from odenet._tables.targets import ClassTargets
from odenet._tables.temperature import LARGEST as LARGEST_TEMPERATURE
from odenet._training.stop_reason import StopReason
from odenet.solvers._base import Solver

# The most columns of a table, pixels of an image, or outputs.
MOST_COLUMNS = 10_000_000
SCALAR = (type(None), bool, int, float, str)
LARGEST = 2**63  # of integers, which JSON may have of any size


def _number(low=-inf, high=inf, kind=(int, float)):
    """Return a check for numbers between two bounds; without any, also for NaN."""

    def check(value):
        if not isinstance(value, kind) or isinstance(value, bool):
            return False
        if not _is_scalar(value):
            return False
        return low <= value <= high or (isnan(value) and low == -inf)

    return check


def _is_scalar(value):
    """Check for a value without parts; an integer must be one of a machine."""
    is_huge = isinstance(value, int) and abs(value) > LARGEST
    return isinstance(value, SCALAR) and not is_huge


def _integer(low, high=LARGEST):
    """Return a check for integers between two bounds."""
    return _number(low, high, int)


def _of(*kinds):
    """Return a check for objects of some types."""
    return lambda value: isinstance(value, kinds)


def _list_of(check, kind=list):
    """Return a check for lists of what another check takes."""
    return lambda value: isinstance(value, kind) and all(map(check, value))


def _optional(check):
    """Return a check that takes None as well."""
    return lambda value: value is None or check(value)


def _dict_of(check):
    """Return a check for dicts with texts as keys, and values of a kind."""

    def check_dict(value):
        is_dict = isinstance(value, dict) and all(isinstance(k, str) for k in value)
        return is_dict and all(map(check, value.values()))

    return check_dict


def _vector(kinds):
    """Return a check for one-dimensional arrays of dtypes of some kinds."""
    return lambda value: (
        isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in kinds
    )


def _recorded(value, levels=3):
    """Check what callbacks record: numbers, texts, and lists and dicts of them."""
    if isinstance(value, np.ndarray) or _is_scalar(value):
        return True
    if isinstance(value, dict):
        is_known = all(isinstance(key, str) for key in value)
        return is_known and _recorded(list(value.values()), levels)
    is_list = isinstance(value, (list, tuple)) and levels > 0
    return is_list and all(_recorded(item, levels - 1) for item in value)


def _is_solver(value):
    """Check a solver, and raise an error if its parameters are not valid."""
    return isinstance(value, Solver) and value.validate() is None


def _is_frozen(value):
    """Check settings, solver and history of a network."""
    checks = {
        "weights": _are_weights,
        "settings": lambda settings: (
            isinstance(settings, dict)
            and settings.keys() <= SETTINGS.keys()
            and all(SETTINGS[name](setting) for name, setting in settings.items())
        ),
        "solver": _is_solver,
        "history": _list_of(_dict_of(_recorded)),
    }
    is_dict = isinstance(value, dict) and value.keys() == checks.keys()
    return is_dict and all(check(value[name]) for name, check in checks.items())


def _are_weights(value):
    """Check the weights of a network: finite numbers of one precision."""
    is_dict = isinstance(value, dict) and "V" in value and value["V"].ndim > 0
    return is_dict and all(
        Z.dtype == value["V"].dtype
        and Z.dtype in (np.float32, np.float64)
        and Z.size > 0
        and bool(np.isfinite(Z).all())
        for Z in value.values()
    )


_curve = _optional(_list_of(_number()))
SETTINGS = {
    "activation": _of(str),
    "depth_scaling": _number(-100, 100),
    "backward": lambda value: value in ("stored", "rebuilt"),
    "imitated_depth": _optional(_integer(1)),
    "monotonicity": _list_of(_list_of(_integer(-1, 1), tuple), tuple),
    "n_embedded": _integer(0),
    "image_shape": _list_of(_integer(1, MOST_COLUMNS), tuple),
}
# The shapes of the weights of both networks; what has one letter has one size.
SHAPES = {
    "embedding": "q d",
    "V": "L q m",
    "W": "L m q",
    "head": "k q",
}
SHAPES_OF_MEMBERS = {
    "embedding": "n q d",
    "V": "L n q m",
    "W": "L n m q",
    "head": "n k q",
}
SHAPES_OF_IMAGES = {
    "stem": "c i s s",
    "stem_norm": "2 c",
    "stem_moments": "2 c",
    **{name: "L c c 3 3" for name in "VW"},
    **{f"{name}_norm": "L 2 c" for name in "VW"},
    **{f"{name}_moments": "L 2 c" for name in "VW"},
    "head": "k p",
    "head_bias": "k",
}
# What every file has, besides the parameters of the estimator.
ALWAYS = {
    FROZEN: _is_frozen,
    "_X_encoder": _of(Encoder, Standardizer),
    "_y_standardizer": _of(Standardizer, type(None)),
    "n_features_in_": _integer(1, MOST_COLUMNS),
    "n_outputs_": _integer(1, MOST_COLUMNS),
    "depth_": _integer(1),
    "depth_path_": _list_of(_dict_of(_is_scalar)),
    "solver_": _is_solver,
    "loss_curve_": _curve,
    "validation_loss_curve_": _curve,
    "validation_scores_": _curve,
    "validation_flow_times_": _curve,
    "stop_reason_": lambda value: value in list(StopReason),
    "converged_": _of(bool),
    "n_iter_": _integer(0),
    "flow_time_": _optional(_number(0)),
    "n_grad_evals_": _integer(0),
}
# What some files have: those of a class, of a table with names, or of later versions.
SOMETIMES = {
    "_columns": _of(Columns),
    "_y_is_1d": _of(bool),
    "_y_loss": _of(Loss),
    "_calibration": _of(Calibration),
    "image_shape_": _list_of(_integer(1, MOST_COLUMNS), tuple),
    "_black": _list_of(_number(), tuple),
    "_class_shares": _optional(_list_of(_number(0, 1))),
    "_temperature": _number(1 / LARGEST_TEMPERATURE, LARGEST_TEMPERATURE),
    "_label_shares": _list_of(_number(0, 1)),
    "_sklearn_output_config": _dict_of(
        lambda value: value in ("default", "pandas", "polars")
    ),
    "feature_names_in_": lambda value: (
        _vector("O")(value) and all(isinstance(name, str) for name in value)
    ),
    "classes_": _vector("biufUO"),
    "n_samples_fit_": _integer(0),
    "loss_": _optional(_number()),
    "ode_gap_": _optional(_number()),
    "cv_results_": _dict_of(_of(np.ndarray, list)),
    "best_index_": _integer(0),
    "best_score_": _number(),
    "n_splits_": _integer(1),
}


def is_known(cls, name):
    """Tell whether a file of an estimator may hold an attribute of a name.

    A subclass of somebody else may have attributes of its own. It declares them by a
    value in the body of the class, which is data.

    Parameters
    ----------
    cls : type
    name : str

    Returns
    -------
    is_known : bool
    """
    if name == "checkpoint":  # a path, which a file must not choose
        return False
    if name in ALWAYS or name in SOMETIMES or name in cls._get_param_names():
        return True
    declared = [vars(base)[name] for base in _foreign(cls) if name in vars(base)]
    return (
        bool(declared)
        and not name.startswith("_")
        and isinstance(declared[0], (*SCALAR, list, dict))
    )


def _foreign(cls):
    """Return the bases of a class that come before those of the package."""
    bases = cls.__mro__
    own = [base.__module__.partition(".")[0] == "odenet" for base in bases]
    return bases[: own.index(True)] if True in own else ()


def check_state(cls, state):
    """Raise an error if no fit gives an estimator this state.

    Parameters
    ----------
    cls : type
    state : dict
        With the names of files: see :mod:`odenet._export.parts`.

    Raises
    ------
    ValueError
        It says which attribute is wrong.
    """
    missing = sorted(ALWAYS.keys() - state.keys())
    if missing:
        raise ValueError(f"it lacks {missing}")
    foreign = sorted(name for name in state if not is_known(cls, name))
    if foreign:
        raise ValueError(f"{foreign} are no fitted attributes")
    for name, check in (ALWAYS | SOMETIMES).items():
        if name in state and not check(state[name]):
            raise ValueError(f"`{name}` is not of the right kind")
    for name, n in _lengths(state).items():
        if name in state and len(state[name]) != n:
            raise ValueError(f"`{name}` has {len(state[name])} entries instead of {n}")
    if not _encoder_fits(state):
        raise ValueError("its inputs do not fit together")
    if not _targets_fit(state):
        raise ValueError("its targets do not fit together")
    if not _calibration_fits(state):
        raise ValueError("its calibration does not fit")
    _check_shapes(state)


def _check_shapes(state):
    """Raise an error if weights are missing, foreign, or of shapes that do not fit."""
    weights = state[FROZEN]["weights"]
    sizes = {"L": state["depth_"], "k": state["n_outputs_"], "2": 2, "3": 3}
    if "image_shape_" in state:
        shapes = SHAPES_OF_IMAGES
        sizes["i"] = state["image_shape_"][2]
    else:
        shapes = SHAPES
        sizes["d"] = state["_X_encoder"].n_inputs + 1
        if weights["V"].ndim == 4:
            shapes = SHAPES_OF_MEMBERS
    if weights.keys() != shapes.keys():
        raise ValueError(f"its weights are {sorted(weights)}")
    for name, letters in shapes.items():
        shape, letters = weights[name].shape, letters.split()
        if len(shape) != len(letters) or not all(
            sizes.setdefault(letter, n) == n
            for letter, n in zip(letters, shape, strict=True)
        ):
            raise ValueError(f"the weights {name} have the shape {shape}")


def _lengths(state):
    """Return how many entries some attributes must have."""
    lengths = {"feature_names_in_": state["n_features_in_"]}
    if state.get("_class_shares") is not None:
        lengths["_class_shares"] = len(state.get("classes_", ()))
    lengths["_label_shares"] = state["n_outputs_"]
    losses, scores = state["validation_loss_curve_"], state["validation_scores_"]
    if (losses is None) != (scores is None):
        raise ValueError("held-out losses and scores do not belong together")
    for name in ("validation_scores_", "validation_flow_times_"):
        if state[name] is not None:
            lengths[name] = len(losses or ())
    return lengths


def _targets_fit(state):
    """Tell whether there are classes, or a standardizer of the outputs, not both."""
    n_outputs, standardizer = state["n_outputs_"], state["_y_standardizer"]
    if standardizer is not None:
        n_targets, is_1d = len(standardizer.mean), state.get("_y_is_1d")
        loss = state.get("_y_loss", SquaredError())
        fits = _is_standardizer(standardizer, n_targets) and not (
            {"classes_", "_label_shares"} & state.keys()
        )
        fits = fits and n_targets * loss.outputs_per_target == n_outputs
        return fits and is_1d is not None and (n_targets == 1 or not is_1d)
    classes = state.get("classes_", ())
    if (shares := state.get("_label_shares")) is not None:
        are_numbers = np.array_equal(classes, np.arange(n_outputs))
        return are_numbers and n_outputs >= 2 and 0 < min(shares) <= max(shares) < 1
    return (
        len(classes) >= 2
        and n_outputs == ClassTargets(classes).n_outputs
        and np.array_equal(np.unique(classes), classes)
        and min(state.get("_class_shares") or [1]) > 0
    )


def _calibration_fits(state):
    """Tell whether there are scores of all targets, by one or by all members."""
    calibration = state.get("_calibration")
    if calibration is None:
        return True
    scores, weights = calibration.scores, calibration.weights
    if not isinstance(scores, tuple) or not isinstance(weights, tuple):
        return False
    standardizer = state["_y_standardizer"]
    n_targets = 1 if standardizer is None else len(standardizer.mean)
    V = state[FROZEN]["weights"]["V"]  # the parameter n_members is of the next fit
    n_members = V.shape[1] if V.ndim == len(SHAPES_OF_MEMBERS["V"].split()) else 1
    return len(scores) == len(weights) in (1, n_members) and all(
        isinstance(s, np.ndarray)
        and s.dtype.kind == "f"
        and s.shape == (len(w), n_targets)
        and _is_floats(w, len(w))
        and bool(np.isfinite(s).all() and (w > 0).all())
        for s, w in zip(scores, weights, strict=True)
    )


def _encoder_fits(state):
    """Tell whether inputs are those of images of a shape, or of columns of a table."""
    n_features, encoder = state["n_features_in_"], state["_X_encoder"]
    if "image_shape_" in state:
        shape = state["image_shape_"]
        fits = len(shape) == 3 and prod(shape) == n_features
        return fits and _is_standardizer(encoder, n_features)
    return (
        isinstance(encoder, Encoder)
        and "_columns" in state
        and _are_columns(encoder.columns, n_features)
        and _are_columns(state["_columns"], n_features)
        and _is_floats(encoder.fill, len(encoder.columns.numeric))
        and _is_scores(encoder.scores, len(encoder.columns.scored))
        and _is_standardizer(
            encoder.standardizer,
            encoder.columns.inputs[0] - len(encoder.columns.scored),
        )
        and _is_embedding(encoder.embedding, encoder.columns.scored)
    )


def _are_columns(columns, n_columns):
    """Tell whether every column is one of numbers or of distinct categories."""
    if not isinstance(columns, Columns) or not isinstance(columns.allow_nan, bool):
        return False
    categories, pooled = columns.categories, columns.pooled
    if not isinstance(categories, dict) or not isinstance(pooled, dict):
        return False
    if not all(_integer(0, n_columns - 1)(j) for j in (*categories, *pooled)):
        return False
    lists = categories.values()
    return (
        all(isinstance(known, tuple) for known in lists)
        and all(
            isinstance(c, SCALAR) for known in (*lists, pooled.values()) for c in known
        )
        and all(len(set(known)) == len(known) for known in lists)
        and pooled.keys() <= categories.keys()
        and all(columns.n_categories(j) for j in categories)
        and _vector("i")(columns.numeric)
        and len(columns.numeric) == n_columns - len(categories)
        and np.array_equal(columns.numeric, other_columns(n_columns, categories))
        and _optional(_number(0))(columns.fewest)
        and _is_indices(columns.incomplete, n_columns)
        and _is_indices(columns.scored, n_columns)
        and bool(np.isin(columns.scored, columns.numeric).all())
    )


def _is_indices(value, n):
    """Tell whether an array holds ascending indices below a number."""
    if not _vector("i")(value):
        return False
    return bool(((value >= 0) & (value < n)).all() and (np.diff(value) > 0).all())


def _is_floats(value, n):
    """Tell whether an array holds so many finite numbers."""
    return _vector("f")(value) and len(value) == n and bool(np.isfinite(value).all())


def _is_standardizer(value, n):
    """Tell whether a standardizer is one of so many columns."""
    if not isinstance(value, Standardizer) or not _is_floats(value.mean, n):
        return False
    limit = value.limit
    if not isinstance(limit, float) and not (_vector("f")(limit) and len(limit) == n):
        return False
    are_scales = _vector("f")(value.scale) and len(value.scale) == n
    return are_scales and bool(np.all(value.scale > 0) and np.all(limit > 0))


def _is_scores(value, n):
    """Tell whether there are knots for so many columns, by ascending values."""
    if not isinstance(value, NormalScores) or not isinstance(value.knots, tuple):
        return False
    pairs = [pair for pair in value.knots if isinstance(pair, tuple) and len(pair) == 2]
    return len(value.knots) == len(pairs) == n and all(
        _vector("f")(values)
        and _is_floats(values, len(values))
        and _is_floats(scores, len(values))
        and bool((values[1:] > values[:-1]).all())
        for values, scores in pairs
    )


def _is_embedding(value, columns):
    """Tell whether an embedding is one of some columns, or none."""
    if value is None:
        return True
    if not isinstance(value, (Periodic, PiecewiseLinear)):
        return False
    if not (_number(0)(value.gain) and 0 < value.gain < inf):
        return False
    if not _vector("i")(value.columns) or not np.array_equal(value.columns, columns):
        return False
    if isinstance(value, Periodic):
        c = value.frequencies
        return (
            isinstance(c, np.ndarray)
            and c.dtype.kind == "f"
            and c.ndim == 2
            and len(c) == len(columns)
            and bool(np.isfinite(c).all())
            and _is_standardizer(value.standardizer, len(columns))
        )
    return (
        _number(0)(value.size)
        and 0 < value.size < inf
        and isinstance(value.edges, tuple)
        and len(value.edges) == len(columns)
        and all(
            _vector("f")(edges)
            and len(edges) > 1
            and _is_floats(edges, len(edges))
            and bool((edges[1:] > edges[:-1]).all())
            for edges in value.edges
        )
        and _is_floats(value.means, value.n_inputs)
    )
