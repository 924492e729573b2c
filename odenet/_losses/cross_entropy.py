"""The cross-entropies: of two classes from one output, and of more from one each.

That of several labels, of which a sample may have any, is the sum of their own.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from odenet._losses.base import Loss, kept_tensor


class _Classification(Loss):
    """The base of the cross-entropies: their name and their score.

    A subclass has ``label(y)``, the index of the likeliest class of every target.
    """

    name = "cross-entropy (nats)"
    score_name = "accuracy"
    # With 80,000 samples of covertype AdamW leaves the neural ODE by more than 5 % of
    # the outputs; with 16,000 of letters and fewer it is as good or better (`python
    # benchmarks/adamw_or_soap.py`).
    solver_of_very_many = "soap"

    def for_validation(self):
        """Return the cross-entropy of the labels themselves.

        Smoothed labels are there to train with. The probabilities that fit them best
        are not those that fit the labels best.
        """
        return replace(self, label_smoothing=0.0)

    def score(self, output, y, weight):
        """Compute the weighted accuracy; of probabilities, of the likeliest classes."""
        right = (self.decide(output) == self.label(y)).to(weight.dtype)
        return ((weight * right).sum() / weight.sum()).item()


@dataclass(frozen=True)
class LogisticLoss(_Classification):
    """The cross-entropy of two classes, from one output: the logit of class 1.

    A target y is the probability of class 1: 0 or 1 where it is a label.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        This share of a label is spread over all classes.
    shares : tuple of float, default=None
        How it is spread, a number for every class, of sum 1; None is evenly. With the
        shares of the classes among the samples, the mean of the probabilities that
        minimise the loss is the share of a class, whatever the smoothing is.
    """

    label_smoothing: float = 0.0
    shares: tuple | None = None

    def per_sample(self, output, y):
        """Compute the loss of every sample, shape (n,)."""
        return F.softplus(output[:, 0]) - output[:, 0] * self._smoothed(y)

    def gradient(self, output, y):
        """Compute the gradient of every sample's loss, shape (n, 1)."""
        return torch.sigmoid(output) - self._smoothed(y)[:, None]

    @staticmethod
    def curvature(output, y):
        """Compute the second derivative of every sample's loss, shape (n, 1, 1)."""
        return (torch.sigmoid(output) * torch.sigmoid(-output))[..., None]

    @staticmethod
    def decide(output):
        """Return the index of the likelier class, shape (n,)."""
        return (output[:, 0] > 0).long()

    @staticmethod
    def label(y):
        """Return whether class 1 is the likelier one, shape (n,)."""
        return y > 0.5

    def _smoothed(self, y):
        """Return the probability of class 1 that a label has after smoothing."""
        share = 0.5 if self.shares is None else self.shares[1]
        return y + self.label_smoothing * (share - y)


@dataclass(frozen=True)
class CrossEntropy(_Classification):
    """The cross-entropy of three classes or more, from one logit each.

    Targets y are the indices of labels, or else the probabilities of all classes, of
    shape (n, n_classes).

    Parameters
    ----------
    label_smoothing : float, default=0.0
        This share of a label is spread over all classes.
    shares : tuple of float, default=None
        How it is spread, a number for every class, of sum 1; None is evenly. With the
        shares of the classes among the samples, the mean of the probabilities that
        minimise the loss is the share of a class, whatever the smoothing is.
    """

    label_smoothing: float = 0.0
    shares: tuple | None = None

    def per_sample(self, output, y):
        """Compute the loss of every sample, shape (n,)."""
        return F.cross_entropy(output, self._smoothed(output, y), reduction="none")

    def gradient(self, output, y):
        """Compute the gradient of every sample's loss, shape (n, n_classes)."""
        return torch.softmax(output, dim=1) - self._smoothed(output, y)

    @staticmethod
    def curvature(output, y):
        """Compute the second derivative of every sample's loss, a matrix for each."""
        share = torch.softmax(output, dim=1)
        return torch.diag_embed(share) - share[:, :, None] * share[:, None, :]

    def _smoothed(self, output, y):
        """Return the probabilities of the classes that targets have after smoothing."""
        n_classes = output.shape[1]
        given = y if y.is_floating_point() else F.one_hot(y, n_classes)
        given = given.to(output.dtype)
        if not self.label_smoothing:
            return given
        shares = self.shares or (1 / n_classes,) * n_classes
        mean = kept_tensor(shares, output.dtype, output.device)
        return given + self.label_smoothing * (mean - given)

    @staticmethod
    def label(y):
        """Return the index of the likeliest class, shape (n,)."""
        return y.argmax(dim=1) if y.is_floating_point() else y

    @staticmethod
    def decide(output):
        """Return the index of the likeliest class, shape (n,)."""
        return output.argmax(dim=1)


@dataclass(frozen=True)
class MultilabelLoss(_Classification):
    """The cross-entropies of several labels, summed; an output is the logit of one.

    A target is 1 where a sample has the label, and 0 where it has not.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        This share of every target is drawn towards what ``shares`` say.
    shares : tuple of float, default=None
        For every label the mean to draw its targets towards; None is one half. With the
        shares of the samples that have the label, the mean of the probabilities that
        minimise the loss is right, whatever the smoothing is.
    """

    name = "cross-entropy of all labels (nats)"
    score_name = "subset accuracy"

    label_smoothing: float = 0.0
    shares: tuple | None = None

    def per_sample(self, output, y):
        """Compute the loss of every sample, shape (n,)."""
        return (F.softplus(output) - output * self._smoothed(y)).sum(dim=1)

    def gradient(self, output, y):
        """Compute the gradient of every sample's loss, shape (n, n_labels)."""
        return torch.sigmoid(output) - self._smoothed(y)

    @staticmethod
    def curvature(output, y):
        """Compute the second derivative of every sample's loss, a diagonal matrix."""
        return torch.diag_embed(torch.sigmoid(output) * torch.sigmoid(-output))

    def score(self, output, y, weight):
        """Compute the weighted share of samples of which all labels are right."""
        right = (self.decide(output) == y).all(dim=1).to(weight.dtype)
        return ((weight * right).sum() / weight.sum()).item()

    @staticmethod
    def decide(output):
        """Return 1 for every label that is likelier than not, shape (n, n_labels)."""
        return (output > 0).long()

    def _smoothed(self, y):
        """Return the probability of every label that a target has after smoothing."""
        if not self.label_smoothing:
            return y
        shares = self.shares or (0.5,) * y.shape[1]
        mean = kept_tensor(shares, y.dtype, y.device)
        return y + self.label_smoothing * (mean - y)
