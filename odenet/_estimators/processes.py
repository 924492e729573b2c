"""A fit by several processes: what it can do, and that all ask for the same."""

from functools import wraps

import numpy as np
from scipy.sparse import issparse
from sklearn.base import is_classifier

from odenet._distributed.group import group_of
from odenet._estimators.comparison import comparable_text
from odenet._tables.labels import kind_of_classes
from odenet._tables.targets import ClassTargets
from odenet._training.callbacks.allowed import callback_of, only_watches
from odenet._training.callbacks.scikit_learn import has_callbacks
from odenet._version import __version__

# Parameters that may differ between the processes: they change no number of a fit, or,
# as the seed and the checkpoint, are those of the first process.
MAY_DIFFER = {"callbacks", "checkpoint", "device", "random_state", "verbose"}


def by_all_processes(fit):
    """Let an error of one process in ``fit`` end it on all that fit together."""

    @wraps(fit)
    def fitted_by_all(self, *args, **kwargs):
        with group_of(self.processes).together():
            return fit(self, *args, **kwargs)

    return fitted_by_all


def check_agreement(estimator, group, *, has_judges):
    """Raise an error on all processes unless they ask for the same fit.

    Parameters
    ----------
    estimator : BaseResODE
        Whose parameters are compared.
    group : Alone
    has_judges : bool
        Whether this process was given an X_val.
    """
    own = {
        f"`{name}`": comparable_text(value)
        for name, value in estimator.get_params().items()
        if name not in MAY_DIFFER
    }
    own["version of odenet"] = __version__
    own["estimator"] = type(estimator).__name__
    own["`X_val`"] = "some rows" if has_judges else "none"
    own["`checkpoint`"] = "none" if estimator.checkpoint is None else "a file"
    if isinstance(estimator.random_state, (int, np.integer)):
        own["`random_state`"] = str(estimator.random_state)
    told = group.collect(own)
    for rank, other in enumerate(told):
        for name in sorted(other.keys() | told[0].keys()):
            first, here = (
                texts.get(name, "another kind") for texts in (told[0], other)
            )
            if first != here:
                raise ValueError(
                    f"All processes of a fit must have the same {name}: rank 0 has "
                    f"{first}, rank {rank} has {here}."
                )


def check_supported(estimator, X, y, *, is_usual):
    """Raise for what a fit by several processes cannot do.

    Parameters
    ----------
    estimator : BaseResODE
    X, y : array-like
    is_usual : bool
        Whether nothing is announced, there are no groups, and no fit goes on.
    """
    unsupported = {
        "several members, `n_members`": estimator.n_members > 1,
        "`scoring`, but by the loss": estimator.scoring != "loss",
        "a `validation_split` that is not random": not _is_random(estimator),
        "`groups`, `warm_start` and `distil`": not is_usual,
        "a sparse X": issparse(X),
        "several labels": is_classifier(estimator) and _are_labels(y),
        "callbacks that do not have `only_watches = True`": not all(
            only_watches(callback_of(given)) for given in estimator.callbacks or ()
        ),
        "callbacks of scikit-learn": has_callbacks(estimator),
    }
    for what, is_asked in unsupported.items():
        if is_asked:
            raise ValueError(
                f"A fit by several processes, processes={estimator.processes!r}, does "
                f"not support {what}: use processes=None."
            )


def _is_random(estimator):
    """Tell whether rows are held out at random."""
    how = estimator.validation_split
    return isinstance(how, str) and how == "random"


def _are_labels(y):
    """Tell whether the targets of a classifier are those of several labels."""
    return kind_of_classes(y) is not ClassTargets
