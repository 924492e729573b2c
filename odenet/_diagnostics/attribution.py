r"""Which columns make an output what it is: gradients that are integrated along a line.

The integrated gradients of a function F at x, from a baseline b, are

.. math::
    a_i = (x_i - b_i) \int_0^1 \partial_i F(b + t (x - b)) \, dt,
    \qquad \sum_i a_i = F(x) - F(b)

(Sundararajan, Taly and Yan, ICML 2017). Here the line leads through the inputs of the
network. All inputs that one column of the table has been turned into are one direction,
whose contribution belongs to the column.
"""

import copy
import warnings
from dataclasses import dataclass
from math import inf
from numbers import Real
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from scipy.special import roots_legendre
from torch import nn

from odenet._diagnostics.tangents import pull_back_to_inputs, push_from_states
from odenet._utils.devices import to_numpy, torch_threads

# The points of a line at first, and at most: they are doubled until the integral stays
# the same. Fits with smooth activations mostly need 16 to 64 for six digits; the most
# is a round value. It bounds the seconds of activations with kinks, whose error falls
# as one over the number of points: six digits are out of their reach.
FEWEST_POINTS, MOST_POINTS = 8, 256
# The most numbers that are kept while some rows are evaluated: a round value, 128 MiB.
LARGEST = 2**24
# How many roundings of the largest output count as none: a round value, well above what
# the sums over layers and points add up to.
ROUNDINGS = 100


def attribution(predictor, X, baseline=None, *, by_depth=False, rtol=1e-6):
    """Compute the contributions of the columns of a table to what is predicted.

    Parameters
    ----------
    predictor : Predictor
        Of a table, around a residual network.
    X : array-like of shape (n, n_columns)
    baseline : array-like of shape (n_baselines, n_columns), default=None
        The contributions are means over its rows. None is one row, of the means of all
        numbers and of no category.
    by_depth : bool, default=False
    rtol : float, default=1e-6
        Tolerance of the error, relative to the sum of the absolute contributions to an
        output.

    Returns
    -------
    contributions : ndarray of shape (n, n_columns, ...)
        With a first axis of length depth + 1 if ``by_depth``. The last axes are those
        of ``targets.explained``.

    Raises
    ------
    ValueError
        If the tolerance is no positive number, or a table is a sparse matrix.

    Warns
    -----
    UserWarning
        If the tolerance has not been reached.
    """
    if isinstance(rtol, bool) or not isinstance(rtol, Real) or not 0 < rtol < inf:
        raise ValueError(f"`rtol` must be a positive number, got {rtol!r}.")
    inputs, targets = predictor.inputs, predictor.targets
    if issparse(X) or issparse(baseline):
        raise ValueError(
            "Contributions have a number for every column: pass dense rows, some at a "
            "time, as in attribution(X[:10].toarray())."
        )
    rows, encoder = inputs.read(X), inputs.encoder
    starts = encoder.neutral_row if baseline is None else inputs.read(baseline)
    network = copy.deepcopy(predictor.network_for_evaluation()).requires_grad_(False)
    like = {"dtype": network.V.dtype, "device": network.V.device}
    starts = torch.tensor(inputs(starts), **like)
    sources = torch.tensor(encoder.sources, device=network.V.device)
    integrand = _Integrand(network, targets.explained, sources, inputs.n_features)
    way = integrand.by_depth if by_depth else integrand.at_once
    size = min(inputs.rows_at_once, integrand.rows_at_once(by_depth))
    parts, results = np.split(rows, range(size, len(rows), size)), []
    with torch_threads(len(parts[0]) * network.V[0].numel()):
        for part in parts:
            x = torch.tensor(inputs(part), **like)
            results.append(_mean_over_starts(integrand, way, x, starts, rtol))
    found = np.concatenate([to_numpy(values) for values, _ in results])
    _warn_if_inexact(max(error for _, error in results), rtol, network.activation)
    shape = targets.explained(x.new_zeros(1, len(network.head))).shape[1:]
    found = found.reshape(*found.shape[:-1], *shape)
    return np.moveaxis(found, 1, 0) if by_depth else found


@dataclass(frozen=True)
class _Integrand:
    """What is integrated: changes of the outputs along the columns of a table.

    Parameters
    ----------
    network : ResidualNetwork
    explained : callable
        Turns outputs into the values that are explained.
    sources : Tensor of shape (n_inputs,), of int
        The column that each input belongs to.
    n_columns : int
    """

    network: nn.Module
    explained: Any
    sources: torch.Tensor
    n_columns: int

    def at_once(self, x, step):
        """Return the changes along each column's part of a step, (n, d, n_values)."""
        outputs, gradients = pull_back_to_inputs(self.network, x)
        changes = (self._slopes(outputs) @ gradients * step[:, None]).mT
        return self._by_column(changes)

    def by_depth(self, x, step):
        """Return the same layer by layer, of shape (n, depth + 1, d, n_values)."""
        A = self.network.embedding[:, :-1]
        directions = self._by_column(step[..., None] * A.mT)
        outputs, changes = push_from_states(self.network, x, directions)
        return changes @ self._slopes(outputs).mT[:, None]

    def values(self, x):
        """Return what is explained, of shape (n, n_values)."""
        return self.explained(self.network(x)).reshape(len(x), -1)

    def rows_at_once(self, by_depth):
        """Return the number of rows whose states and changes fit into the memory."""
        depth, q, m = self.network.V.shape
        n_outputs, d = len(self.network.head), self.n_columns
        held = depth * (q + 2 * m) + len(self.sources) * (q + n_outputs)
        if by_depth:
            held += (depth + 1) * d * n_outputs + d * (q + m)
        return max(1, LARGEST // held)

    def _by_column(self, values):
        """Add up values of the inputs, (n, n_inputs, k), to those of the columns."""
        n, _, k = values.shape
        sums = values.new_zeros(n, self.n_columns, k)
        return sums.index_add_(1, self.sources, values)

    @torch.enable_grad()
    def _slopes(self, outputs):
        """Return the derivatives of the values by the outputs, (n, n_values, d')."""
        outputs = outputs.detach().requires_grad_()
        values = self.explained(outputs).reshape(len(outputs), -1)
        rows = [
            torch.autograd.grad(column.sum(), outputs, retain_graph=True)[0]
            for column in values.unbind(dim=1)
        ]
        return torch.stack(rows, dim=1)


def _mean_over_starts(integrand, way, x, starts, rtol):
    """Return the mean of the integrals from several starts, and the largest error."""
    total, worst = 0.0, 0.0
    eps = ROUNDINGS * torch.finfo(x.dtype).eps
    rounding = eps * integrand.values(x).abs().amax(dim=1)
    for start in starts:
        integral, errors = _integral(way, x, start, rounding, rtol)
        total = total + integral / len(starts)
        worst = max(worst, errors.max().item())
    return total, worst


def _integral(way, x, start, rounding, rtol):
    """Integrate along the lines from a start to every x.

    Returns
    -------
    integral : Tensor of shape (n, ..., n_columns, n_values)
    errors : Tensor of shape (n,)
        How far the integral was from that of half as many points, relative to the sum
        of the absolute contributions.
    """
    n_points, step = FEWEST_POINTS, x - start
    found = _quadrature(way, start, step, n_points)
    errors = torch.full_like(x[:, 0], inf)
    open_rows = torch.arange(len(x), device=x.device)
    while len(open_rows) and n_points < MOST_POINTS:
        n_points *= 2
        finer = _quadrature(way, start, step[open_rows], n_points)
        distance = (finer - found[open_rows]).abs().flatten(1).amax(dim=1)
        size = finer.abs().flatten(1, -2).sum(dim=1).amax(dim=1)
        exact = distance <= rounding[open_rows]
        errors[open_rows] = torch.where(exact, 0.0, distance / size)
        found[open_rows] = finer
        open_rows = open_rows[errors[open_rows] > rtol]
    return found, errors


def _quadrature(way, start, step, n_points):
    """Integrate by the rule of Gauss and Legendre."""
    points, weights = roots_legendre(n_points)
    return sum(
        weight / 2 * way(start + (1 + point) / 2 * step, step)
        for point, weight in zip(points.tolist(), weights.tolist(), strict=True)
    )


def _warn_if_inexact(error, rtol, activation):
    """Warn if an integral has not come within the tolerance."""
    if error > rtol:
        warnings.warn(
            f"Some attributions are exact to {error:.1g} of their sum only, not to "
            f"rtol={rtol:g}, at {MOST_POINTS} points on the way from the baseline. "
            f"Gradients of the activation {activation!r} may have jumps, or change "
            "very fast; a larger `rtol` asks for less.",
            UserWarning,
            stacklevel=4,  # the caller of the estimator's method
        )
