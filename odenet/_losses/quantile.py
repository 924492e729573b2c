"""The pinball loss of one quantile or of several, with its kink smoothed."""

from dataclasses import dataclass
from functools import lru_cache
from math import log
from numbers import Real
from statistics import NormalDist

import numpy as np
import torch
import torch.nn.functional as F

from odenet._losses.base import Loss, check_positive, kept_tensor

# In standard deviations of the target. With 0.02 flows took 1.4 to 11 times as long.
# Predictions were better only where the noise is below a tenth of that (energy, yacht):
# `python benchmarks/losses.py --smoothing 0.02`.
SMOOTHING = 0.05
LOG_2 = log(2)  # the softplus of zero


@dataclass(frozen=True)
class Quantile(Loss):
    r"""The pinball loss of quantiles, smoothed at its kink.

    .. math::
        l(p, y) = \tau r + a \log(1 + e^{-r / a}), \qquad r = y - p,

    summed over quantiles :math:`\tau` and targets. It is the pinball loss (Koenker and
    Bassett, Econometrica 46, 1978), averaged over logistic noise of scale a that is
    added to y. So the prediction is exactly the quantile of the target plus such noise.
    If the density of the target has a slope of at most K, and is at least f between
    that and its own quantile, the two differ by at most
    :math:`\pi^2 a^2 K / (6 f)`: for a normal target by 0.6 % of its standard deviation
    at a = 0.05 and :math:`\tau = 0.9`. Where inputs tell so much that the noise is not
    wide beside a, choose a smaller one: mini-batches do not mind, flows take longer.

    The predictions p of several quantiles do not cross, anywhere and at any depth. The
    network has one output for the quantile nearest to 1/2, and one for each distance
    from one quantile to the next, which is the softplus of the output. Outputs of zero
    stand for the quantiles of the standard normal distribution.

    Parameters
    ----------
    quantile : float or sequence of float, default=0.5
        The quantile :math:`\tau`, between 0 and 1; or several, in ascending order. A
        sequence gives the predictions an axis of quantiles, even if it has one entry.
    smoothing : float, default=0.05
        The width a of the kink, in standard deviations of the target (in its own units
        without ``standardize``).

    Examples
    --------
    >>> import torch
    >>> from odenet.losses import Quantile
    >>> y = torch.tensor([[0.0], [10.0]])
    >>> Quantile(0.9).per_sample(torch.tensor([[5.0], [5.0]]), y)
    tensor([0.5000, 4.5000])
    >>> Quantile([0.1, 0.5, 0.9]).decide(torch.zeros(1, 3))
    tensor([[[-1.2816,  0.0000,  1.2816]]])
    """

    quantile: float | tuple = 0.5
    smoothing: float = SMOOTHING

    name = "pinball loss"
    has_kink = True

    def __post_init__(self):
        given = self.quantile
        levels = [given] if isinstance(given, Real) else np.asarray(given).tolist()
        if not _are_levels(levels):
            raise ValueError(
                "`quantile` must be a number between 0 and 1, or several in strictly "
                f"ascending order, got {given!r}."
            )
        object.__setattr__(
            self, "quantile", levels[0] if isinstance(given, Real) else tuple(levels)
        )
        check_positive("smoothing", self.smoothing)

    @property
    def levels(self):
        """The quantiles, a tuple."""
        return self.quantile if self._are_several else (self.quantile,)

    @property
    def outputs_per_target(self):
        """The number of quantiles."""
        return len(self.levels)

    @property
    def n_predictions(self):
        """The number of quantiles if predictions have an axis of them, else None."""
        return len(self.quantile) if self._are_several else None

    @property
    def middle(self):
        """The index of the quantile nearest to 1/2."""
        return min(range(len(self.levels)), key=lambda i: abs(self.levels[i] - 0.5))

    def decide(self, output):
        """Return the quantiles.

        Parameters
        ----------
        output : Tensor of shape (n, n_targets * n_quantiles)
            A target has neighbouring columns.

        Returns
        -------
        predictions : Tensor of shape (n, n_targets) or (n, n_targets, n_quantiles)
            The latter for a sequence of quantiles.
        """
        if not self._are_several:
            return output
        output, i = self._by_target(output), self.middle
        steps = self._tensor(_steps(self.levels, i), output) * F.softplus(output)
        middle = output[..., i : i + 1] + NormalDist().inv_cdf(self.levels[i])
        above = middle + steps[..., i + 1 :].cumsum(dim=-1)
        below = middle - steps[..., :i].flip(-1).cumsum(dim=-1).flip(-1)
        return torch.cat([below, middle, above], dim=-1)

    def combine(self, outputs):
        """Combine outputs of several networks: means of the middles and of the steps.

        The inverse of the softplus is :math:`s + log(1 - exp(-s))`.
        """
        mean = outputs.mean(dim=0)
        if not self._are_several:
            return mean
        step = F.softplus(outputs).mean(dim=0)
        step = step + torch.log(-torch.expm1(-step))
        is_middle = torch.arange(len(self.levels), device=mean.device) == self.middle
        apart = torch.where(is_middle, self._by_target(mean), self._by_target(step))
        return apart.flatten(1)

    def combine_to_onnx(self, graph, outputs, n_networks):
        """Add the nodes of ``combine`` to a graph, with expm1 as the runtime has it."""
        mean = graph.add("ReduceMean", outputs, axes=[0], keepdims=0)
        if not self._are_several:
            return mean
        step = graph.add("ReduceMean", _softplus(graph, outputs), axes=[0], keepdims=0)
        rest = graph.add("Exp", graph.add("Neg", step))
        rest = graph.add("Log", graph.add("Sub", graph.constant(1.0), rest))
        step = graph.add("Add", step, rest)
        shape = graph.constant([0, -1, len(self.levels)], np.int64)
        mean, step = (graph.add("Reshape", value, shape) for value in (mean, step))
        is_middle = np.arange(len(self.levels)) == self.middle
        apart = graph.add("Where", graph.constant(is_middle), mean, step)
        return graph.add("Reshape", apart, graph.add("Shape", outputs, start=1))

    def per_sample(self, output, y):
        """Compute the loss of every sample, shape (n,)."""
        return self.of_predictions(self.decide(output), y)

    def of_predictions(self, predictions, y):
        """Compute the loss of every sample from predicted quantiles, shape (n,)."""
        a, predictions = self.smoothing, self._with_axis(predictions)
        r = y[..., None] - predictions
        losses = self._tensor(self.levels, r) * r - a * F.logsigmoid(r / a)
        return losses.flatten(1).sum(dim=1)

    def gradient(self, output, y):
        """Compute the gradient of every sample's loss, shape (n, n_outputs)."""
        if not self._are_several:
            return self._share_below(output, y)[..., 0] - self.quantile
        slope = self._share_below(output, y) - self._tensor(self.levels, output)
        return (slope @ self._signs_like(output) * self._speeds(output)).flatten(1)

    def curvature(self, output, y):
        """Compute the Gauss-Newton part of the second derivatives.

        That of the softplus is left out, which is not always positive: for one quantile
        there is none.
        """
        share, speeds = self._share_below(output, y), self._speeds(output)
        of_predictions = share * (1 - share) / self.smoothing
        J = self._signs_like(output) * speeds[..., None, :]
        blocks = J.mT @ (of_predictions[..., None] * J)
        n_targets = blocks.shape[1]
        apart = torch.eye(n_targets, dtype=blocks.dtype, device=blocks.device)
        whole = torch.einsum("nkij,kl->nkilj", blocks, apart)
        return whole.flatten(3).flatten(1, 2)

    def point(self, predictions):
        """Return the quantile nearest to 1/2."""
        return predictions[..., self.middle] if self._are_several else predictions

    def to_onnx(self, graph, output):
        """Add what ``decide`` does to a graph of ONNX, and return the last node."""
        if not self._are_several:
            return output
        n, i = len(self.levels), self.middle
        axis = graph.constant(2, np.int64)

        def part(value, start, stop):
            bounds = ([start], [stop], [2])
            return graph.add(
                "Slice", value, *(graph.constant(b, np.int64) for b in bounds)
            )

        shape = graph.constant([0, -1, n], np.int64)
        output = graph.add("Reshape", output, shape)
        steps = _softplus(graph, output)
        steps = graph.add("Mul", steps, graph.constant(_steps(self.levels, i)))
        shift = graph.constant(NormalDist().inv_cdf(self.levels[i]))
        middle = graph.add("Add", part(output, i, i + 1), shift)
        parts = [middle]
        if i > 0:
            sums = graph.add("CumSum", part(steps, 0, i), axis, reverse=1)
            parts.insert(0, graph.add("Sub", middle, sums))
        if i < n - 1:
            sums = graph.add("CumSum", part(steps, i + 1, n), axis)
            parts.append(graph.add("Add", middle, sums))
        return graph.add("Concat", *parts, axis=2)

    @property
    def _are_several(self):
        """Whether predictions have an axis of quantiles."""
        return isinstance(self.quantile, tuple)

    def _by_target(self, output):
        """Return outputs in the shape (n, n_targets, n_quantiles)."""
        return output.unflatten(1, (-1, len(self.levels)))

    def _with_axis(self, predictions):
        """Return predictions with an axis of quantiles."""
        return predictions if self._are_several else predictions[..., None]

    def _share_below(self, output, y):
        """Return how likely y plus noise is below each prediction."""
        predictions = self._with_axis(self.decide(output))
        return torch.sigmoid((predictions - y[..., None]) / self.smoothing)

    def _signs_like(self, like):
        """Return how every prediction (row) depends on its output and the steps."""
        return self._tensor(_signs(len(self.levels), self.middle), like)

    def _speeds(self, output):
        """Return how fast steps change with their outputs; the middle is its own."""
        output, i = self._by_target(output), self.middle
        is_middle = tuple(float(j == i) for j in range(len(self.levels)))
        steps = self._tensor(_steps(self.levels, i), output)
        speeds = steps * torch.sigmoid(output)
        return speeds + self._tensor(is_middle, output)

    @staticmethod
    def _tensor(values, like):
        """Return numbers as a tensor of the kind of another."""
        return kept_tensor(values, like.dtype, like.device)


def _softplus(graph, value):
    """Add max(u, 0) + log(1 + exp(-|u|)): the runtime has no softplus of float64."""
    tail = graph.add("Exp", graph.add("Neg", graph.add("Abs", value)))
    tail = graph.add("Log", graph.add("Add", graph.constant(1.0), tail))
    return graph.add("Add", graph.add("Relu", value), tail)


@lru_cache(maxsize=64)
def _steps(levels, middle):
    """Return the distances to the next quantile on the way to the middle.

    They are those of the normal distribution over log 2, which is the softplus of zero.
    That of the middle itself is not used.
    """
    q = [NormalDist().inv_cdf(level) for level in levels]
    gaps = [(high - low) / LOG_2 for low, high in zip(q, q[1:], strict=False)]
    return (*gaps[:middle], 0.0, *gaps[middle:])


@lru_cache(maxsize=64)
def _signs(n, middle):
    """Return the signs with which predictions (rows) depend on middle and steps."""
    above = n - middle - 1
    signs = np.zeros((n, n))
    signs[:, middle] = 1
    signs[middle + 1 :, middle + 1 :] = np.tril(np.ones((above, above)))
    signs[:middle, :middle] = -np.triu(np.ones((middle, middle)))
    return tuple(map(tuple, signs.tolist()))


def _are_levels(levels):
    """Tell whether numbers are between 0 and 1 and in strictly ascending order."""
    if not isinstance(levels, list) or not levels:
        return False
    if not all(isinstance(t, Real) and not isinstance(t, bool) for t in levels):
        return False
    bounds = [0.0, *levels, 1.0]
    return all(low < high for low, high in zip(bounds, bounds[1:], strict=False))
