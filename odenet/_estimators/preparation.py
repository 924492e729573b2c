"""What a fit needs before it trains, and after it has failed."""

from contextlib import contextmanager

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from odenet._distributed.group import ALONE
from odenet._network.activations import increasing
from odenet._tables.images import with_channels
from odenet._tables.reading import Rows
from odenet._tables.rows import dealt_out_evenly
from odenet._utils.sklearn_private import CALLBACK_STATE, check_monotonic_cst

# Parameters that shape a network, and its attributes; None and "auto" leave them to it.
STRUCTURE = {
    "depth": "depth",
    "width": "width",
    "channels": "width",
    "state_dim": "state_dim",
    "activation": "activation",
    "n_members": "n_models",
    "image_shape": "image_shape",
}
LEFT_TO_THE_NETWORK = (None, "auto")


def takes_parts(estimator):
    """Tell whether an estimator can be trained on one part of the data at a time."""
    if estimator._resolved_solver().takes_parts:
        return True
    raise AttributeError(
        "partial_fit needs a solver of mini-batches with a constant rate, as "
        f"solver='adamw', 'soap' or 'sgd' are, got solver={estimator.solver!r}."
    )


def seed_and_generator(random_state, group=ALONE):
    """Draw a seed, and make a generator of it.

    The global random states are neither read nor set. Several processes have the seed
    of the first.
    """
    if random_state is None:
        seed = np.random.SeedSequence().generate_state(1)[0]
    else:
        seed = check_random_state(random_state).randint(2**31)
    seed = group.from_first(seed)
    return int(seed), torch.Generator().manual_seed(int(seed))


def evenly(rows, group):
    """Return rows in the same order, of which every process has as many; or None."""
    if rows is None or group.size == 1:
        return rows
    X, y, weight, factor = dealt_out_evenly(
        rows.X, rows.y, rows.weight, rows.factor, group
    )
    return Rows(X, y, weight, None, factor)


def rows_of_all(rows, group):
    """Return the rows of all processes, which must be few."""
    parts = zip(Rows._fields, rows, strict=True)
    return Rows(**{n: None if a is None else group.concat(a) for n, a in parts})


def check_same_network(estimator, network):
    """Raise if parameters ask for another network than the one that is trained on."""
    asked = estimator.get_params(deep=False)
    traits = {n: trait for n, trait in STRUCTURE.items() if n in asked}
    fitted = {name: getattr(network, trait) for name, trait in traits.items()}
    if network.monotonicity is not None:
        asked["activation"] = increasing(asked["activation"])
    fitted["dtype"] = str(network.V.dtype).removeprefix("torch.")
    for name, value in fitted.items():
        wish = asked[name]
        if name == "image_shape" and wish is not None:
            wish = with_channels(tuple(wish))
        if wish not in (value, *LEFT_TO_THE_NETWORK):
            raise ValueError(
                f"`{name}` must stay {value!r} while training goes on, got "
                f"{asked[name]!r}: use warm_start=False to start anew."
            )


def check_same_constraints(estimator, predictor):
    """Raise if ``monotonic_cst`` asks for other signs than those that were fitted."""
    monotonic_cst = estimator.get_params(deep=False).get("monotonic_cst")
    monotonicity = predictor.network.monotonicity
    if monotonic_cst is None and monotonicity is None:
        return
    signs = check_monotonic_cst(estimator, monotonic_cst)
    encoder = predictor.inputs.encoder
    signs = encoder.columns.signs_of_inputs(signs, encoder.embedding)
    fitted = np.zeros_like(signs) if monotonicity is None else monotonicity.inputs
    if not np.array_equal(signs, fitted):
        raise ValueError(
            "`monotonic_cst` must stay the same while training goes on, got "
            f"{monotonic_cst!r}: use warm_start=False to start anew."
        )


def check_same_embedding(estimator, predictor):
    """Raise if ``numeric_embedding`` asks for another one than that was fitted."""
    wish = estimator.get_params(deep=False).get("numeric_embedding", "auto")
    if wish == "auto":
        return
    encoder = predictor.inputs.encoder
    fitted = None if encoder.embedding is None else encoder.embedding.name
    if fitted is None and len(encoder.columns.scored):
        fitted = "scores"
    if fitted is None and wish == "scores":
        return  # which a table without a column to score has as well
    if fitted != wish:
        raise ValueError(
            f"`numeric_embedding` must stay {fitted!r} while training goes on, got "
            f"{wish!r}: use warm_start=False to start anew."
        )


@contextmanager
def losing_nothing(estimator):
    """Leave an estimator as it was if an error is raised.

    What scikit-learn's callbacks have set stays, since they clear it themselves.
    """
    before = vars(estimator).copy()
    try:
        yield
    except BaseException:
        theirs = {n for n in vars(estimator) if n.startswith(CALLBACK_STATE)}
        for name in set(vars(estimator)) - set(before) - theirs:
            delattr(estimator, name)
        ours = {n: v for n, v in before.items() if not n.startswith(CALLBACK_STATE)}
        vars(estimator).update(ours)
        raise


@contextmanager
def telling_whose(arguments):
    """Say of an error about samples which arguments of ``fit`` they are."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"Of {arguments}: {error}") from error


def with_categories(reading, outcome, first):
    """Return what a user is to be warned of, each text with its category.

    Parameters
    ----------
    reading : Reading
    outcome : Outcome
    first : Predictor or None
        If further trainings on other data may follow, the predictor that they share.
    """
    texts = list(reading.notices)
    if first is not None:
        texts += [*first.inputs.notices(), *first.targets.notices()]
    told = [(text, UserWarning) for text in texts]
    return told + [(text, ConvergenceWarning) for text in outcome.warnings()]
