"""The base of all losses."""

from functools import lru_cache
from math import inf, log
from numbers import Real

import torch


class Loss:
    r"""The base of all losses, by which a training judges the outputs of a network.

    A loss of one's own is a subclass with ``per_sample``. All else has a default, which
    a subclass may replace: derivatives come from autograd. The theorems on the limit of
    deep networks ask for a loss that is smooth in the output (Marion, Wu, Sander and
    Biau, ICLR 2024), and ``Flow(method="exponential")`` for one that is convex.

    Tensors have one row for each of n samples. ``y`` holds targets as the network sees
    them: of mean 0 and variance 1, or of mean 1 if the ``link`` is "log".

    Attributes
    ----------
    name : str
        The name of the loss on the axis of a figure, with its unit in parentheses.
    score_name : str
        The name of what ``score`` returns.
    link : {"identity", "log"}
        How an output stands for a prediction. "identity" is the prediction itself, of a
        standardised target. "log" is the logarithm of the prediction, over the mean of
        the target: a network that returns zero predicts the mean.
    constant_curvature : float or None
        The number c if the ``curvature`` of every sample is c times the identity,
        wherever the output is.
    outputs_per_target : int
        How many outputs a network has for each target, in neighbouring columns.
    has_kink : bool
        Whether the slope of the loss changes within a small part of the target's
        standard deviation. The flow of such a loss takes many small steps, so that
        ``solver="auto"`` follows it for fewer samples only.
    solver_of_many : str
        The name of the solver that ``solver="auto"`` takes where samples are too many
        for a flow.
    solver_of_very_many : str or None
        The same for more than 20,000 samples. None is ``solver_of_many``.
    n_predictions : int or None
        How many numbers are predicted of each target, on a last axis of the
        predictions. None is one, without such an axis.

    Notes
    -----
    If the class is a frozen dataclass, losses of equal parameters are equal, and
    several networks are trained faster as one. A dataclass that has a line in
    ``odenet.losses.LOSSES`` can be given by its name there, and written to files.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import torch
    >>> from odenet import ResODERegressor
    >>> from odenet.losses import Loss
    >>> @dataclass(frozen=True)
    ... class LogCosh(Loss):
    ...     name = "log cosh"
    ...     def per_sample(self, output, y):
    ...         return torch.log(torch.cosh(output - y)).sum(dim=1)
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 4.0, 9.0]
    >>> model = ResODERegressor(8, loss=LogCosh(), flow_time=10.0, random_state=0)
    >>> bool(model.fit(X, y).score(X, y) > 0.9)
    True
    """

    name = "loss"
    score_name = "R2"
    link = "identity"
    constant_curvature = None
    outputs_per_target = 1
    has_kink = False
    solver_of_many = "adamw"
    solver_of_very_many = None
    n_predictions = None

    def check(self, y):
        """Raise a ValueError for targets that the loss is not made for.

        By default these are negative ones if the ``link`` is "log".

        Parameters
        ----------
        y : ndarray of shape (n, n_targets)
            In the units of the user.
        """
        if self.link == "log" and (y < 0).any():
            raise ValueError(
                f"`y` must not be negative for {self!r}, whose link is the logarithm, "
                f"got {y.min()}."
            )

    def per_sample(self, output, y):
        """Compute the loss of every sample.

        Parameters
        ----------
        output : Tensor of shape (n, n_outputs)
        y : Tensor of shape (n, n_outputs) or (n,)

        Returns
        -------
        losses : Tensor of shape (n,)
            Differentiable with respect to the output.
        """
        raise NotImplementedError

    def gradient(self, output, y):
        """Compute the gradient of every sample's loss with respect to its output.

        Returns
        -------
        gradient : Tensor of shape (n, n_outputs)
            The same as autograd returns for the sum of ``per_sample``, which is the
            default.
        """
        with torch.enable_grad():
            output = output.detach().requires_grad_()
            return torch.autograd.grad(self.per_sample(output, y).sum(), output)[0]

    def curvature(self, output, y):
        """Compute the second derivative of every sample's loss by its output.

        Returns
        -------
        curvature : Tensor of shape (n, n_outputs, n_outputs)
            Positive semi-definite matrices. They may leave out a part of the second
            derivative that is not. By default they come from autograd.
        """
        with torch.enable_grad():
            output = output.detach().requires_grad_()
            total = self.per_sample(output, y).sum()
            (slope,) = torch.autograd.grad(total, output, create_graph=True)
            rows = [
                torch.autograd.grad(column.sum(), output, retain_graph=True)[0]
                for column in slope.unbind(dim=1)
            ]
        return torch.stack(rows, dim=1)

    def rounding(self, eps):
        """Return the share of the loss at the start below which all is rounding.

        Parameters
        ----------
        eps : float
            The unit of rounding of the outputs.

        Returns
        -------
        share : float
            By default eps, as for losses that are known up to an absolute error.
        """
        return eps

    def for_validation(self):
        """Return the loss by which held-out samples judge a training.

        Returns
        -------
        loss : Loss
            This one, unless it differs from what users want small.
        """
        return self

    def score(self, output, y, weight):
        """Compute the score of scikit-learn, which the history records.

        Parameters
        ----------
        output, y : Tensor
        weight : Tensor of shape (n,)
            Weights of the samples.

        Returns
        -------
        score : float
            Larger is better. By default R2, averaged over the targets.
        """
        return _r2(self.point(self.decide(output)), y, weight)

    def decide(self, output):
        """Turn outputs into predictions that can be compared with ``y``.

        Returns
        -------
        predictions : Tensor of shape (n, n_targets) or (n,)
            By default the outputs, or their exponentials if the ``link`` is "log". A
            loss that predicts several numbers of a target has a third axis for them.
        """
        return output.exp() if self.link == "log" else output

    def combine(self, outputs):
        """Combine the outputs of several networks to those of one.

        Parameters
        ----------
        outputs : Tensor of shape (n_networks, n, n_outputs)

        Returns
        -------
        output : Tensor of shape (n, n_outputs)
            Its prediction is the mean of the networks' predictions. By default it is
            the mean of the outputs, or the logarithm of their mean exponential if the
            ``link`` is "log".
        """
        if self.link == "log":
            return outputs.logsumexp(dim=0) - log(len(outputs))
        return outputs.mean(dim=0)

    def combine_to_onnx(self, graph, outputs, n_networks):
        """Add the nodes of ``combine`` to a graph.

        Parameters
        ----------
        graph : Graph
        outputs : str
            The name of a value of shape (n_networks, n, n_outputs), float64.
        n_networks : int

        Returns
        -------
        output : str
        """
        if self.link == "log":
            total = graph.add("ReduceLogSumExp", outputs, axes=[0], keepdims=0)
            return graph.add("Sub", total, graph.constant(log(n_networks)))
        return graph.add("ReduceMean", outputs, axes=[0], keepdims=0)

    def of_predictions(self, predictions, y):
        """Compute the loss of every sample from predictions in place of outputs.

        Parameters
        ----------
        predictions : Tensor
            As ``decide`` returns them.
        y : Tensor of shape (n, n_targets)

        Returns
        -------
        losses : Tensor of shape (n,)
        """
        output = predictions.log() if self.link == "log" else predictions
        return self.per_sample(output, y)

    def point(self, predictions):
        """Return one prediction for each target, for scores such as R2.

        Parameters
        ----------
        predictions : Tensor or ndarray
            As ``decide`` returns them; the axis of the targets may be missing.

        Returns
        -------
        predictions : Tensor or ndarray
            By default the same.
        """
        return predictions

    def to_onnx(self, graph, output):
        """Add what ``decide`` does to a graph of ONNX.

        Parameters
        ----------
        graph : odenet._export.onnx_graph.Graph
        output : str
            The name of the outputs of the network, float64.

        Returns
        -------
        predictions : str
            The name of the last node.
        """
        if type(self).decide is not Loss.decide:
            raise ValueError(
                f"The loss {self!r} has no form for ONNX: its `decide` is its own, and "
                "it has no `to_onnx(graph, output)`."
            )
        return graph.add("Exp", output) if self.link == "log" else output


def _r2(predictions, y, weight):
    """Compute the weighted R2, averaged over targets; that of a constant y is 0."""
    weight = weight[:, None]
    residual = (weight * (y - predictions).square()).sum(dim=0)
    mean = (weight * y).sum(dim=0) / weight.sum()
    total = (weight * (y - mean).square()).sum(dim=0)
    r2 = 1 - residual / total
    # The mean of equal values is rounded, so that their total may not be zero.
    varies = (total > 0) & (y != y[:1]).any(dim=0)
    return torch.where(varies, r2, torch.zeros_like(r2)).mean().item()


def check_positive(name, value):
    """Raise a ValueError for a parameter of a loss that is no positive number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < inf:
        raise ValueError(f"`{name}` must be a positive number, got {value!r}.")


@lru_cache(maxsize=64)
def kept_tensor(values, dtype, device):
    """Return a tensor, and keep it: none can be made while CUDA captures a graph."""
    return torch.tensor(values, dtype=dtype, device=device)
