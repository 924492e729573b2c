"""Conformal prediction: intervals and sets that hold the truth as often as promised.

A score says how badly the target of a sample conforms to a prediction by a network that
was not trained on it. That of a new sample is as likely to be among the largest as any
other, if the samples are exchangeable.
"""

from dataclasses import dataclass
from math import ceil, floor, inf
from numbers import Real

import numpy as np

# Bisections of the range of the scores: as many as float64 has binary digits, and some.
BISECTIONS = 60
# So that rounding, of 0.9 / (1 - 0.9) for instance, never asks for one sample more.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Calibration:
    """The scores of held-out samples, by which predictions become intervals or sets.

    With several members every sample is compared with what its own member, which has
    held it out, says of the new one: cross-conformal prediction (Vovk, *Annals of
    Mathematics and Artificial Intelligence* 74, 2015), for intervals CV+ (Barber,
    Candès, Ramdas and Tibshirani, *Annals of Statistics* 49, 2021). With one list of
    scores this is split conformal prediction.

    Parameters
    ----------
    scores : tuple of ndarray of shape (n_held_out, n_targets)
        For every member those of the samples that it holds out; or a single array, of
        samples that none was trained on.
    weights : tuple of ndarray of shape (n_held_out,)
        Whole numbers count as so many samples. Of others, the mean counts as one.
    """

    scores: tuple
    weights: tuple

    def of_member(self, i):
        """Return the calibration of one of several members, by what it held out.

        It has none where the scores are those of all members together.
        """
        if len(self.scores) == 1:
            return None
        return Calibration(self.scores[i : i + 1], self.weights[i : i + 1])

    def interval(self, low, high, confidence_level):
        """Widen intervals such that they hold the target with some probability.

        Parameters
        ----------
        low, high : ndarray of shape (n_members, n, n_targets)
            The bounds to which scores are relative, such as a prediction twice.
        confidence_level : float

        Returns
        -------
        interval : ndarray of shape (n, n_targets, 2)
        """
        mass = self._mass_within(confidence_level)
        bounds = np.empty((*low.shape[1:], 2))
        for j in range(low.shape[2]):
            scores = [_Cumulative(s[:, j], w) for s, w in self._pairs()]
            bounds[:, j, 0] = -_shifted_quantile(-low[..., j], scores, mass)
            bounds[:, j, 1] = _shifted_quantile(high[..., j], scores, mass)
        middle = bounds.mean(axis=-1)  # narrower than nothing: bounds may have crossed
        bounds[..., 0] = np.minimum(bounds[..., 0], middle)
        bounds[..., 1] = np.maximum(bounds[..., 1], middle)
        return bounds

    def contains(self, scores, confidence_level):
        """Tell which values of a target are in the set that holds it.

        Parameters
        ----------
        scores : ndarray of shape (n_members, n, n_values)
            The score that each value would have.
        confidence_level : float

        Returns
        -------
        contains : ndarray of shape (n, n_values), bool
        """
        mass = self._mass_within(confidence_level)
        below = np.zeros(scores.shape[1:])
        for (known, weight), of_value in zip(self._pairs(), scores, strict=True):
            below += _Cumulative(known[:, 0], weight)(of_value, side="left")
        return below < mass

    def _pairs(self):
        """Return scores and weights of every member."""
        return list(zip(self.scores, self.weights, strict=True))

    def _mass_within(self, confidence_level):
        """Return how much of the weight must conform better than the bound."""
        if not (isinstance(confidence_level, Real) and 0 < confidence_level < 1):
            raise ValueError(
                "`confidence_level` must be a number between 0 and 1, got "
                f"{confidence_level!r}."
            )
        weights = np.concatenate(self.weights)
        total = weights.sum()
        unit = weights.mean() if (weights % 1).any() else 1.0  # that of the new sample
        mass = confidence_level * (total + unit)
        if mass * (1 - ROUNDING) > total:
            needed = ceil(confidence_level / (1 - confidence_level) - ROUNDING)
            most = floor(1000 * total / (total + unit)) / 1000
            raise ValueError(
                f"`confidence_level` must be at most {most} with {len(weights)} "
                f"held-out samples, got {confidence_level!r}, which needs {needed}."
            )
        return mass * (1 - ROUNDING)


class _Cumulative:
    """The weight of all scores up to a value."""

    def __init__(self, scores, weights):
        order = np.argsort(scores, kind="stable")
        self.scores = scores[order]
        self.mass = np.concatenate([[0.0], np.cumsum(weights[order])])

    def __call__(self, values, side="right"):
        """Return the weight of the scores at most as large; of smaller ones if left."""
        return self.mass[np.searchsorted(self.scores, values, side=side)]


def _shifted_quantile(shifts, scores, mass):
    """Return the least values that so much weight of shifted scores does not exceed.

    Parameters
    ----------
    shifts : ndarray of shape (n_members, n)
    scores : list of _Cumulative
    mass : float

    Returns
    -------
    values : ndarray of shape (n,)
        From above, within rounding.
    """
    least = min(s.scores[0] for s in scores if len(s.scores))
    most = max(s.scores[-1] for s in scores if len(s.scores))
    low, high = shifts.min(axis=0) + least, shifts.max(axis=0) + most
    low = np.nextafter(low, -inf)
    for _ in range(BISECTIONS):
        middle = low + (high - low) / 2
        pairs = zip(scores, shifts, strict=True)
        enough = sum(s(middle - shift) for s, shift in pairs) >= mass
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high
