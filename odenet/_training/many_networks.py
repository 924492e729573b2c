"""Many networks of equal shapes trained as one: their gradient flows are one flow.

The gradient of the sum of their losses with respect to one network's weights is the
gradient of that network's own loss. So one flow, that of the sum, trains all of them.
Its steps suit the stiffest network. Each network ends where it would have ended alone,
up to the solver's tolerance.
"""

from dataclasses import replace
from functools import cached_property

import torch
from torch.nn.utils.rnn import pad_sequence

from odenet._tables.samples import Samples
from odenet._training.net import TrainingNet
from odenet._utils.sparse_rows import join_rows, share_rows


class JointSamples(Samples):
    """Samples of several models: an axis of models comes before that of the rows.

    Weights are such that the weighted sum over a model's rows, divided by the number of
    models, is the mean over its own samples; that of a batch is an estimate of it.
    """

    @property
    def row_weight(self):
        """The mean weight of every row over the models; 1 in the mean over the rows."""
        return self.weight.mean(dim=0) * (self.weight.shape[1] / len(self.weight))

    def batch(self, index=slice(None), weight=None, n=None):
        """Return inputs and targets of all models, of the rows of an index.

        ``weight`` are weights of these rows in place of ``row_weight``.
        """
        X, y, own = (part[:, index] for part in (self.X, self.y, self.weight))
        own = own * (self.weight.shape[1] / own.shape[1])
        if weight is not None:
            own = own * (weight / self.row_weight[index])
        return {"X": X, "weight": own}, y


def share_samples(samples, n_models, parts=None):
    """Give several models the same samples, without copying them.

    Parameters
    ----------
    samples : Samples
    n_models : int
    parts : Tensor of shape (n_models, n), default=None
        The share that every model has of every sample; by default all of each.

    Returns
    -------
    joint : JointSamples
    """
    weight = samples.weight.expand(n_models, -1)
    if parts is not None:
        weight = weight * parts
        mean = weight.mean(dim=1, keepdim=True)
        weight = weight * (samples.weight.mean() / mean)
    X, y = (share_rows(part, n_models) for part in (samples.X, samples.y))
    return JointSamples(X, y, weight * (n_models / len(samples)))


def join_samples(samples):
    """Join the samples of several models along a new first axis.

    Shorter sets are padded by samples of weight zero, whose targets are those of their
    last sample: a loss need not be finite at zero. The objective on the joined samples
    is the sum of the models' own objectives, which are means over samples.
    """
    n_models, longest = len(samples), max(map(len, samples))
    X = join_rows([s.X for s in samples])
    weight = pad_sequence(
        [s.weight * (n_models / len(s)) for s in samples], batch_first=True
    )
    y = torch.stack([_padded(s.y, longest) for s in samples])
    return JointSamples(X, y, weight)


def _padded(y, n):
    """Return targets, of which the last one is repeated to make them n."""
    return y[torch.arange(n, device=y.device).clamp(max=len(y) - 1)]


def joint_plan(plan, n_models):
    """Return a plan by which several networks are trained as one is."""
    loss = JointLoss([plan.loss] * n_models)
    return replace(plan, loss=loss, net_class=JointNet)


class JointLoss:
    """The losses of joined networks, one for each."""

    def __init__(self, losses):
        self.losses = losses
        self.are_same = all(loss == losses[0] for loss in losses)

    def for_validation(self):
        """Return the losses by which held-out samples judge each network."""
        return self._validation

    @cached_property
    def _validation(self):
        """The validation losses, which are asked for at every step, made once."""
        return JointLoss([loss.for_validation() for loss in self.losses])

    def per_sample(self, output, y):
        """Compute the loss of every sample, shape (n_models, n)."""
        return self._of_each("per_sample", output, y)

    def gradient(self, output, y):
        """Compute every sample's gradient, shape (n_models, n, n_outputs)."""
        return self._of_each("gradient", output, y)

    def curvature(self, output, y):
        """Compute every sample's curvature, (n_models, n, n_outputs, n_outputs)."""
        return self._of_each("curvature", output, y)

    def rounding(self, eps):
        """Return the largest share of a loss that is rounding."""
        return max(loss.rounding(eps) for loss in self.losses)

    @property
    def score_name(self):
        """What ``score`` is called."""
        return self.losses[0].score_name

    @property
    def constant_curvature(self):
        """The curvature that all samples of all models have, or None."""
        return self.losses[0].constant_curvature if self.are_same else None

    def _of_each(self, name, output, y):
        """Call a method of every loss; of one for all rows, if all are the same."""
        if self.are_same:
            of_all = getattr(self.losses[0], name)
            values = of_all(output.flatten(0, 1), y.flatten(0, 1))
            return values.unflatten(0, y.shape[:2])
        parts = zip(self.losses, output, y, strict=True)
        return torch.stack([getattr(loss, name)(o, t) for loss, o, t in parts])

    def score(self, output, y, weight):
        """Compute the score of the samples of all models."""
        return self.losses[0].score(*(t.flatten(0, 1) for t in (output, y, weight)))


class JointNet(TrainingNet):
    """Trains joined networks. Its history has means over the models."""

    samples_axis = 1

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Sum the validation losses of the models, without the penalties."""
        losses = self.loss.for_validation().per_sample(y_pred, y_true)
        return (X["weight"] * losses).sum() / len(y_true)

    def train_step(self, batch, **fit_params):
        """Take one step, and return the mean loss of a model."""
        step = super().train_step(batch, **fit_params)
        return {**step, "loss": step["loss"] / len(batch[1])}

    def validation_step(self, batch, **fit_params):
        """Evaluate the validation samples of all models, as if they were one set."""
        step = super().validation_step(batch, **fit_params)
        self.valid_losses = self.valid_losses.flatten()
        self.valid_weight = self.valid_weight.flatten()
        return {**step, "loss": step["loss"] / len(batch[1])}

    def loss_of_zero(self, samples):
        """Compute the sum of the losses of networks whose outputs are zero."""
        X, y = samples.batch()
        output = X["weight"].new_zeros(*y.shape[:2], self.module_.head.shape[-2])
        return self.get_loss(output, y, X=X).item()
