"""A student of a fitted estimator: a residual network that predicts as it does."""

import warnings
from dataclasses import replace
from numbers import Integral

import numpy as np
from scipy.sparse import issparse
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.utils.validation import check_is_fitted

from odenet._estimators.base import fit_announced
from odenet._estimators.classifier import ResODEClassifier
from odenet._estimators.preparation import seed_and_generator
from odenet._estimators.regressor import ResODERegressor
from odenet._tables.columns import as_table
from odenet._tables.reading import Announced
from odenet._tables.table_values import mixed_rows
from odenet._tables.targets import SoftClassTargets
from odenet._utils.sklearn_private import check_sample_weight

# The probability that a value of an extra row comes from another row, and the extra
# rows by default, for each row of X. `python benchmarks/distillation.py` measures both,
# with --swaps. The first is a choice: with 0.6 students were nearer to their teachers
# on three of four tables, and with 0.1 less near on three, but the more values are
# swapped, the less an extra row is like any that is met.
SWAPS, TIMES = 0.3, 4
# The most extra rows by default, which bounds the seconds: a round value. Many rows of
# X tell enough of the teacher by themselves.
MOST_BY_DEFAULT = 20_000


def distil(
    teacher,
    X,
    *,
    student=None,
    sample_weight=None,
    n_augmented="auto",
    random_state=None,
):
    """Fit a student to the predictions of a fitted estimator.

    The student is a residual network that predicts as its teacher does, for instance
    one that is smooth, is served in few layers (``with_depth(4, imitate=True)``), or
    without scikit-learn (``to_onnx``). Of a classifier it learns the probabilities, by
    their cross-entropy (Hinton, Vinyals and Dean, 2015); of one without
    ``predict_proba``, and of a regressor, what ``predict`` returns.

    Parameters
    ----------
    teacher : estimator
        A fitted classifier or regressor, with scikit-learn's methods.
    X : array-like or sparse matrix of shape (n_samples, n_features)
        The samples at which the teacher is asked. They need no targets: those that it
        was trained on, and any others of the same kind.
    student : ResODERegressor or ResODEClassifier, default=None
        The parameters of the student, of which a clone is fitted. None is a
        ResODEClassifier for a classifier, and a ResODERegressor for a regressor, with
        their defaults. ``label_smoothing`` and ``class_weight`` are about labels: they
        leave probabilities as they are.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples. A weight of w is the same as w repetitions, to the last
        bit if ``n_augmented=0``.
    n_augmented : int or "auto", default="auto"
        Number of extra rows at which the teacher is asked as well. Each is a row of X
        in which every column may, with probability 0.3, have the value of some other
        row (a simple form of the method MUNGE of Bucila, Caruana and
        Niculescu-Mizil, KDD 2006). Rows of larger weight are taken more often. An extra
        row has the mean weight of the rows of X. "auto" is four for each row of X, and
        20,000 at most: that brings the student nearer to its teacher, for two to six
        times the seconds. With 0 it may come nearer to the truth where it knows better
        than the teacher. A sparse X has no extra rows.
    random_state : int, RandomState instance or None, default=None
        Seed of the extra rows, and of a student that has no ``random_state`` itself.

    Returns
    -------
    student : ResODERegressor or ResODEClassifier
        Fitted. It has the classes of its teacher as ``classes_``. Accuracies and losses
        of its training are against the teacher. All that a fit on targets leaves can
        be done: ``save``, ``to_onnx``, ``with_depth``; ``partial_fit`` and
        ``warm_start`` go on with targets, or labels.

    Raises
    ------
    NotFittedError
        If the teacher is not fitted.
    TypeError
        If the teacher is neither a classifier nor a regressor, or if the student is not
        of the same kind, or searches for its parameters.
    ValueError
        If X does not fit the teacher, if ``n_augmented`` is no number of rows, if
        there are extra rows and ``validation_split`` of the student is not "random", or
        if the probabilities of the teacher are not those of one label.

    Warns
    -----
    UserWarning, ConvergenceWarning
        As of the ``fit`` of the student.

    See Also
    --------
    ResODEClassifier.with_depth : The same function in fewer layers.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from odenet import ResODEClassifier, distil
    >>> X, y = load_iris(return_X_y=True)
    >>> teacher = RandomForestClassifier(random_state=0).fit(X, y)
    >>> shallow = ResODEClassifier(8, flow_time=10.0)
    >>> student = distil(teacher, X, student=shallow, random_state=0)
    >>> bool((student.predict(X) == teacher.predict(X)).mean() > 0.95)
    True
    """
    kind = _kind_of_student(teacher)
    student = _student(student, kind)
    seed, _ = seed_and_generator(random_state)
    if student.random_state is None and random_state is not None:
        student.set_params(random_state=seed)
    _check_n_augmented(n_augmented)
    if n_augmented != 0:
        _check_order(student, X)
        rng = np.random.default_rng(seed)
        X, sample_weight = _with_extra_rows(X, sample_weight, n_augmented, rng)
    y, announced = _lesson(teacher, X)
    notices = fit_announced(student, X, y, sample_weight, announced)
    # Held-out samples say how far the student is from the teacher, not from the truth.
    predictor = student._predictor = replace(student._predictor, calibration=None)
    if isinstance(predictor.targets, SoftClassTargets):  # what follows are labels
        targets = predictor.targets.of_labels(student.get_params(deep=False))
        student._predictor = replace(predictor, targets=targets)
    for text, category in notices:
        warnings.warn(text, category, stacklevel=2)
    return student


def _kind_of_student(teacher):
    """Return the class of the student of a fitted teacher."""
    is_estimator = hasattr(teacher, "__sklearn_tags__") and not isinstance(
        teacher, type
    )
    for tells, kind in (
        (is_classifier, ResODEClassifier),
        (is_regressor, ResODERegressor),
    ):
        if is_estimator and tells(teacher):
            check_is_fitted(teacher)
            return kind
    raise TypeError(
        "`teacher` must be a fitted classifier or regressor with scikit-learn's "
        f"methods, got {teacher!r}."
    )


def _student(student, kind):
    """Return an estimator of a kind to fit, with the parameters of a student."""
    student = kind() if student is None else student
    if not isinstance(student, kind):
        raise TypeError(
            f"`student` must be a {kind.__name__}, as the teacher asks for, got "
            f"{student!r}."
        )
    if type(student).fit is not kind.fit:
        raise TypeError(
            f"`student` must be fitted as a {kind.__name__} is, got {student!r}: fit a "
            "search to the predictions of the teacher, and give a student the "
            "parameters that it has found."
        )
    return clone(student)


def _check_n_augmented(n_augmented):
    """Raise for what is no number of rows."""
    if isinstance(n_augmented, str) and n_augmented == "auto":
        return
    is_count = isinstance(n_augmented, Integral) and not isinstance(n_augmented, bool)
    if not is_count or n_augmented < 0:
        raise ValueError(
            '`n_augmented` must be "auto", or an integer that is not negative, got '
            f"{n_augmented!r}."
        )


def _check_order(student, X):
    """Raise if a student holds out rows by their places, which extra rows have not."""
    how = student.validation_split
    is_random = isinstance(how, str) and how == "random"
    if issparse(X) or is_random or student.early_stopping is False:
        return
    raise ValueError(
        "`validation_split` of the student must be 'random' where extra rows are mixed "
        f"from several, got {how!r}: pass n_augmented=0, or set the student's "
        "validation_split='random'."
    )


def _with_extra_rows(X, sample_weight, n_augmented, rng):
    """Add rows to a table in which columns have values of several rows.

    Returns
    -------
    X : data frame or ndarray of shape (n + n_augmented, d)
    weight : ndarray of shape (n + n_augmented,)
    """
    if issparse(X):
        if n_augmented == "auto":
            return X, sample_weight
        raise ValueError(
            "Columns of a sparse matrix are not mixed: pass n_augmented=0, got "
            f"{n_augmented!r}."
        )
    X = as_table(X)
    n, d = X.shape
    if n_augmented == "auto":
        n_augmented = min(TIMES * n, MOST_BY_DEFAULT)
    weight = check_sample_weight(sample_weight, X)
    share = weight / weight.sum()
    base = rng.choice(n, size=(n_augmented, 1), p=share)
    other = rng.choice(n, size=(n_augmented, d), p=share)
    extra = np.where(rng.uniform(size=other.shape) < SWAPS, other, base)
    own = np.broadcast_to(np.arange(n)[:, None], (n, d))
    mean = weight.sum() / np.count_nonzero(weight)
    return (
        mixed_rows(X, np.vstack([own, extra])),
        np.concatenate([weight, np.full(n_augmented, mean)]),
    )


def _lesson(teacher, X):
    """Return what a teacher says of samples, and what a student must know of that."""
    if not is_classifier(teacher):
        return np.asarray(teacher.predict(X)), Announced()
    classes = getattr(teacher, "classes_", None)
    if not hasattr(teacher, "predict_proba"):
        return np.asarray(teacher.predict(X)), Announced(classes=classes)
    probabilities = teacher.predict_proba(X)
    y = np.asarray(probabilities) if hasattr(probabilities, "shape") else None
    is_table = y is not None and np.ndim(classes) == 1
    is_table = is_table and y.shape[1:] == np.shape(classes)
    if not is_table or not np.allclose(y.sum(axis=1), 1.0, atol=1e-4):
        raise ValueError(
            "`teacher` must predict one label, with a column of probabilities for each "
            "of its classes, whose sum is 1 (of several labels, distil a teacher for "
            f"each); its classes are {classes!r}, and `predict_proba` returns "
            f"{'several arrays' if y is None else f'an array of shape {y.shape}'}."
        )
    y = y[:, np.argsort(classes)]
    return y, Announced(classes=np.asarray(classes), targets=SoftClassTargets)
