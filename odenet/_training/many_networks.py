"""Many networks of equal shapes trained as one: their gradient flows are one flow.

The sum of their losses has each network's own gradient in each network's weights. So
the flow of all is that of the sum, and its steps, which suit the stiffest of them, are
taken once for all. A network ends where it would have ended alone, up to the solver's
tolerance.
"""

from torch.nn.utils.rnn import pad_sequence

from odenet._tables.samples import Samples
from odenet._training.net import TrainingNet


def join_samples(samples):
    """Join samples along an axis of models; short sets end in samples without weight.

    The objective on them is the sum of the models' own, which are means of n samples.
    """
    n_models = len(samples)
    X, y, weight = (
        pad_sequence(column, batch_first=True)
        for column in (
            [s.X for s in samples],
            [s.y for s in samples],
            [s.weight * (n_models / len(s)) for s in samples],
        )
    )
    return Samples(X, y, weight)


class JointLoss:
    """The loss of joined networks."""

    def __init__(self, loss):
        self.loss = loss

    def per_sample(self, output, y):
        """Compute the loss of every sample, shape (n_models, n)."""
        losses = self.loss.per_sample(output.flatten(0, 1), y.flatten(0, 1))
        return losses.view(output.shape[:2])

    def gradient(self, output, y):
        """Compute its gradient by the outputs, shape (n_models, n, n_outputs)."""
        gradients = self.loss.gradient(output.flatten(0, 1), y.flatten(0, 1))
        return gradients.view_as(output)


class JointNet(TrainingNet):
    """Trains joined networks, without validation samples."""

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Sum the losses of the models, without the penalties."""
        losses = self.loss.per_sample(y_pred, y_true)
        return (X["weight"] * losses).sum() / len(y_true)

    def loss_of_zero(self, samples):
        """Compute the loss of networks whose output is zero."""
        X, y = samples.batch()
        output = X["X"].new_zeros(*X["weight"].shape, self.module_.head.shape[-2])
        return self.get_loss(output, y, X=X).item()
