"""The checkpoint of a fit: whose it is, and whether a fit goes on from it."""

from functools import partial

import joblib
import numpy as np
import torch
from scipy.sparse import issparse

from odenet._estimators.comparison import comparable_text
from odenet._estimators.preparation import seed_and_generator
from odenet._export.checkpoint import CheckpointFile
from odenet._tables.rows import digest_of_rows
from odenet._training.callbacks.allowed import callback_of, only_watches
from odenet._version import __version__

# Parameters that change no number of a fit.
NOT_COMPARED = {"checkpoint", "callbacks", "n_jobs", "random_state", "verbose"}


class Checkpoint:
    """What a fit keeps in the file of its parameter ``checkpoint``.

    As a context it removes its part of the file if the fit fails before anything was
    kept.

    Parameters
    ----------
    estimator : estimator
        Whose parameters must be the same for a fit to go on.
    seed : int
        The seed that was drawn for this fit.
    data : object
        All that the fit depends on besides the parameters: arrays and plain data.

    Attributes
    ----------
    seed : int
        The seed of the fit: that of the file if a fit without a seed goes on.
    records : list
        What an earlier process has kept of the same fit; empty if there is nothing.
    notices : list of str
        What the user is to be warned of.

    Raises
    ------
    OSError, ValueError
        If the file cannot be read or written, or if a callback has a memory.
    """

    def __init__(self, estimator, seed, data):
        _check_callbacks(estimator.callbacks)
        self.file = CheckpointFile(estimator.checkpoint)
        self.name = type(estimator).__name__
        self.notices, self.records, self.problem = [], [], None
        self.head = {"seed": seed, "traits": _traits(estimator, seed, data)}
        found = self.file.sections.get(self.name)
        if found is not None and found.get("traits") == self.head["traits"]:
            self.seed = self.head["seed"] = found["seed"]
            self.records = found["records"]
            return
        self.seed = seed
        if found is not None:
            changed = ", ".join(_changes(found.get("traits", {}), self.head["traits"]))
            self.notices.append(
                f"The checkpoint {self.file.path} belongs to another fit, of which "
                f"differ: {changed}. Training began anew."
            )
        elif self.file.damage is not None:
            self.notices.append(f"{self.file.damage} Training began anew.")
        self.file.write(self.name, {**self.head, "records": []})

    def seed_and_generator(self):
        """Return the seed of the fit, and a generator that begins with it."""
        return self.seed, torch.Generator().manual_seed(self.seed)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is not None and not self.records:
            self.end()

    def keep(self, records):
        """Write records. A failure ends no fit: it is told when the fit has ended."""
        self.problem, self.records = None, records
        try:
            self.file.write(self.name, {**self.head, "records": records})
        except OSError as error:
            self.problem = error

    def end(self, *, is_complete=True):
        """Remove what was kept of a fit that is complete; another may still go on."""
        try:
            if is_complete:
                self.file.remove(self.name)
        except OSError as error:
            self.problem = error
        if self.problem is not None:
            self.notices.append(
                f"The checkpoint {self.file.path} could not be kept: {self.problem}."
            )


class SharedCheckpoint:
    """The checkpoint of a fit by several processes, of which the first has the file.

    Parameters
    ----------
    group : Alone
    estimator, seed, data
        As of :class:`Checkpoint`, whose attributes and methods this has.
    """

    def __init__(self, group, estimator, seed, data):
        is_first = group.rank == 0
        self.own = Checkpoint(estimator, seed, data) if is_first else None
        found = None if self.own is None else (self.own.seed, self.own.records)
        self.seed, self.records = group.from_first(found)

    @property
    def notices(self):
        return [] if self.own is None else self.own.notices

    def seed_and_generator(self):
        """Return the seed of the fit, and a generator that begins with it."""
        return self.seed, torch.Generator().manual_seed(self.seed)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.own is not None:
            self.own.__exit__(*error)

    def keep(self, records):
        """Write records, see :class:`Checkpoint`."""
        if self.own is not None:
            self.own.keep(records)

    def end(self, *, is_complete=True):
        """Remove what was kept of a fit that is complete."""
        if self.own is not None:
            self.own.end(is_complete=is_complete)


def checkpoint_of(estimator, reading, given, asked, predictor):
    """Return the checkpoint of a fit.

    Parameters
    ----------
    estimator : estimator
    reading : Reading
        The training set.
    given : tuple of array-like or None, or None
        Samples to stop early on, with their weights.
    asked : Asked or None
        What is held out to stop early on, where the parameters do not tell.
    predictor : Predictor or None
        If it is trained further.
    """
    group = reading.group
    seed, _ = seed_and_generator(estimator.random_state, group)
    held_out = [
        part if issparse(part) else np.asarray(part)
        for part in given or ()
        if part is not None
    ]
    weights = {} if predictor is None else predictor.network.state_dict()
    weights = {name: Z.cpu().numpy() for name, Z in weights.items()}
    rows = list(reading.rows[:3])
    if estimator.processes is not None:  # the same for all numbers of processes
        rows = [digest_of_rows(*rows, group)]
        held_out = group.collect(joblib.hash(held_out)) if held_out else []
    data = [*rows, reading.layout, held_out, weights]
    if asked is not None:
        data.append([asked.groups, asked.pairs])
    kind = Checkpoint if group.size == 1 else partial(SharedCheckpoint, group)
    return kind(estimator, seed, data)


def _check_callbacks(callbacks):
    """Raise for a callback whose memory a checkpoint would not have."""
    for given in callbacks or ():
        callback = callback_of(given)
        if not only_watches(callback):
            raise ValueError(
                f"`checkpoint` does not keep what the callback {callback!r} remembers. "
                "Leave it out; or, if it only watches the training, give its class the "
                "attribute only_watches = True."
            )


def _traits(estimator, seed, data):
    """Return texts that are the same for the same fit, by what they tell of."""
    params = estimator.get_params()
    traits = {
        name: comparable_text(value)
        for name, value in params.items()
        if name not in NOT_COMPARED
    }
    given = params["random_state"] is not None
    return {
        "data": joblib.hash(data),
        **traits,
        "random_state": str(seed) if given else "None",
        "version of odenet": __version__,
        "version of torch": torch.__version__,
    }


def _changes(before, now):
    """Yield what differs between the traits of two fits, with values that are short."""
    for name in before.keys() | now.keys():
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        is_long = name in ("data", "random_state") or len(f"{old}{new}") > 60
        yield name if is_long else f"{name} ({old}, now {new})"
