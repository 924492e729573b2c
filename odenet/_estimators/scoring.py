"""The score by which held-out samples judge a training, for ``scoring``."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from sklearn.metrics import check_scoring
from sklearn.utils import indexable

from odenet._inspection.summary import is_judged_by_score, scorer_name
from odenet._network.model_axis import networks_of
from odenet._network.predictor import Predictor
from odenet._utils.sklearn_private import safe_indexing, takes_sample_weight


def serving(estimator, predictor, **attributes):
    """Return an estimator that predicts by a predictor, as if it had been fitted.

    ``attributes`` are further ones that it shows.
    """
    model = type(estimator).__new__(type(estimator))
    fitted = {"_predictor": predictor, **predictor.targets.attributes()}
    vars(model).update(vars(estimator), **fitted, **attributes)
    return model


@dataclass(frozen=True)
class HeldOutScore:
    """The score of held-out samples, as a function of the network that predicts them.

    Parameters
    ----------
    estimator : estimator
        Whose copies the scorer sees.
    predictor : Predictor
        What is around the network.
    scorer : callable
        A scorer as scikit-learn has them.
    parts : sequence of tuple (X, y, weight)
        The held-out samples of each network along an axis of models, or those of all
        together, as the user gave them; None in place of weights that the scorer needs
        not know.
    shares : sequence of float
        How much the score of each network counts.
    """

    estimator: Any
    predictor: Predictor
    scorer: Callable
    parts: Sequence[tuple]
    shares: Sequence[float]

    def __call__(self, network):
        """Return the score, averaged over the folds if there are any."""
        networks = networks_of(network) if len(self.parts) > 1 else [network]
        pairs = zip(networks, self.parts, strict=True)
        scores = [self._of_one(network, *part) for network, part in pairs]
        return float(np.average(scores, weights=self.shares))

    def _of_one(self, network, X, y, weight):
        """Return the score of one network, or raise an error if it is no number."""
        predictor = self.predictor.around(network)
        model = serving(self.estimator, predictor, depth_=network.depth)
        params = {} if weight is None else {"sample_weight": weight}
        name = scorer_name(self.estimator.scoring or "score")
        try:
            score = self.scorer(model, X, y, **params)
        except FloatingPointError as error:  # not one of the training
            raise ValueError(f"The scorer {name} has failed: {error}.") from error
        with suppress(AttributeError, ValueError):  # several numbers are no number
            score = score.item()
        if not isinstance(score, Real) or score != score:
            raise ValueError(
                f"`scoring` must return a number, got {score!r} from {name} for "
                f"{len(y)} held-out samples. If these are too few for it, hold out "
                "more of them (`validation_fraction`), or choose another one."
            )
        return float(score)


def held_out_score(estimator, predictor, rows, parts, X):
    """Return what judges a training by ``scoring``; None if the loss does.

    Parameters
    ----------
    estimator : BaseResODE
    predictor : Predictor
    rows : Rows
        The distinct rows that the parts are from.
    parts : list of Rows
        What is held out, as ``held_out_parts`` returns it.
    X : data frame or array-like
        The user's table that the held-out rows are from.

    Returns
    -------
    score : HeldOutScore or None
    """
    if not parts or not is_judged_by_score(estimator):
        return None
    scorer = check_scoring(estimator, estimator.scoring)
    (X,) = indexable(X)
    has_counts = not (rows.sample_weight % 1).any()
    return HeldOutScore(
        estimator,
        predictor,
        scorer,
        [
            (safe_indexing(X, index), predictor.targets.decoded(y), weight)
            for index, y, weight in (
                _to_score(part, scorer, has_counts) for part in parts
            )
        ],
        [part.weight.sum() for part in parts],
    )


def _to_score(part, scorer, has_counts):
    """Return the places, targets and weights with which rows are scored.

    Equal weights are left out. A scorer that takes none sees a row as often as its
    weight says, without that of its class, if the weights are counts, of equal rows for
    instance.
    """
    takes_weight = takes_sample_weight(scorer)
    weight = part.weight if takes_weight else part.sample_weight
    if (weight == weight[0]).all():
        return part.index, part.y, None
    if takes_weight:
        return part.index, part.y, weight
    if not has_counts:
        raise ValueError(
            f"`scoring`={scorer!r} takes no sample_weight, but there are weights that "
            "are no whole numbers: choose a scorer that does, or scoring='loss'."
        )
    # A row that is shared out between two parts has a fraction of its weight in each.
    times = np.rint(weight).clip(min=1).astype(int)
    return part.index.repeat(times), part.y.repeat(times, axis=0), None
