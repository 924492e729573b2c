"""What a fit needs before it trains, and after it has failed."""

from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state

from odenet._network.activations import increasing
from odenet._tables.images import with_channels
from odenet._tables.rows import distinct_rows
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


def seed_and_generator(random_state):
    """Draw a seed, and make a generator of it.

    The global random states are neither read nor set.
    """
    if random_state is None:
        seed = np.random.SeedSequence().generate_state(1)[0]
    else:
        seed = check_random_state(random_state).randint(2**31)
    return int(seed), torch.Generator().manual_seed(int(seed))


def merged(rows, seed):
    """Merge repeated rows, and put them in an order that the seed decides."""
    return rows.taken(*distinct_rows(rows.X, rows.y, rows.weight, seed))


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
