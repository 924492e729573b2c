"""From the targets of a training set to those of a network, and back to predictions."""

from dataclasses import dataclass, replace
from math import inf, log
from numbers import Real
from typing import Any

import numpy as np
import torch
from scipy.special import expit, log_expit, log_softmax, logsumexp, softmax
from sklearn.metrics import get_scorer, log_loss, make_scorer
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from odenet._distributed.group import ALONE
from odenet._losses.base import Loss
from odenet._losses.cross_entropy import CrossEntropy, LogisticLoss
from odenet._losses.registry import as_given, resolve_loss
from odenet._losses.squared_error import SquaredError
from odenet._tables.standardizer import (
    Standardizer,
    fit_standardizer,
    fit_to_the_mean,
)
from odenet._tables.temperature import fit_temperature

# Longer than that of numbers: the curvature of the cross-entropy is far smaller.
FLOW_TIME_OF_CLASSES = 1200.0


class Targets:
    """What an estimator knows of its targets: one instance belongs to one fit.

    A subclass has the number ``n_outputs`` of network outputs, the ``loss`` to train
    with, and the methods below that raise ``NotImplementedError`` here.
    """

    checks = {}  # keyword arguments for scikit-learn's check of y
    is_calibrated = True  # whether held-out samples give intervals or sets
    temperature = 1.0  # what outputs are divided by to be logits, where they are
    has_bins_on_mini_batches = False  # of numbers, by default
    has_classes = False  # if so, there are ``classes``, ``logits`` and probabilities
    longest_flow_time = 300.0  # of a flow that held-out samples are to stop

    @classmethod
    def of(cls, y, *, estimator_name, params, classes=None, group=ALONE):
        """Describe the targets of a training set.

        Parameters
        ----------
        y : ndarray
            Checked.
        estimator_name : str
            Whom errors speak of.
        params : dict
            The parameters of the estimator.
        classes : array-like, default=None
            Labels that are announced, of which y may lack some.
        group : Alone, default=ALONE
            The processes that have the samples.

        Returns
        -------
        targets : Targets
        """
        raise NotImplementedError

    @staticmethod
    def check(y):
        """Raise for targets of the wrong kind."""

    def under(self, params):
        """Return the same targets under other parameters of the estimator."""
        return self

    def encode(self, y):
        """Turn y, as it was passed to ``fit``, into numbers with one row a sample."""
        raise NotImplementedError

    def decoded(self, y):
        """Return encoded targets as they were passed to ``fit``."""
        raise NotImplementedError

    def fitted(self, y, weight, standardize, group=ALONE):
        """Return targets that know the scale of the encoded y, where they need it.

        The processes of ``group`` have the samples together.
        """
        return self

    def calibrated(self, outputs, y, weight, group=ALONE):
        """Return targets that know how sure outputs for held-out samples may be.

        Parameters
        ----------
        outputs : ndarray of shape (n, n_outputs)
        y, weight : ndarray
            Encoded targets, and weights.
        group : Alone, default=ALONE
            The processes that have the samples.
        """
        return self

    def outputs_at_start(self):
        """Return the outputs to start a training with, shape (n_outputs,)."""
        return np.zeros(self.n_outputs)

    def weigh(self, y, weight, group=ALONE):
        """Multiply sample weights by those of the classes, where there are any."""
        return weight

    def strata(self, y):
        """Return the labels of the groups that a split must keep in proportion."""
        return None

    def tensor(self, y):
        """Turn encoded targets into what the loss takes."""
        raise NotImplementedError

    def combine(self, outputs):
        """Combine outputs of several networks, shape (n_networks, n, n_outputs).

        Returns
        -------
        outputs : ndarray of shape (n, n_outputs)
            Those of one network that predicts the mean of what they predict.
        """
        raise NotImplementedError

    def decode(self, outputs):
        """Turn outputs of the network, shape (n, n_outputs), into predictions."""
        raise NotImplementedError

    def nonconformity(self, outputs, y):
        """Say how badly encoded targets conform to outputs of the network.

        Returns
        -------
        scores : ndarray of shape (n, n_targets)
        """
        raise NotImplementedError

    def explained(self, outputs):
        """Return what attributions add up to, but for a constant, from a tensor.

        It is differentiable; by default the outputs themselves.
        """
        return outputs

    def point(self, predictions):
        """Return one prediction for each target, which scores compare with y."""
        return predictions

    def scorer(self):
        """Return the scorer of scikit-learn by which a search chooses by default."""
        raise NotImplementedError

    def check_monotonic(self):
        """Raise if predictions need not be monotone where all outputs are."""

    def notices(self):
        """Return what a user is to know who trains further on other data."""
        return []

    def contents(self):
        """Return words for what a sample is labelled with, or an empty text."""
        return ""

    def attributes(self):
        """Return what an estimator shows of its targets after ``fit``."""
        shown = {"n_outputs_": self.n_outputs}
        return {"classes_": self.classes, **shown} if self.has_classes else shown


@dataclass(frozen=True)
class RegressionTargets(Targets):
    """Columns of numbers, which the network sees as the loss wants them scaled."""

    standardizer: Standardizer
    is_1d: bool
    loss: Loss = SquaredError()

    checks = {"multi_output": True, "y_numeric": True}
    has_bins_on_mini_batches = True

    @classmethod
    def of(cls, y, *, estimator_name, params, classes=None, group=ALONE):
        """Describe the targets of a training set, not scaled yet."""
        n_targets = 1 if y.ndim == 1 else y.shape[1]
        as_they_are = Standardizer(np.zeros(n_targets), np.ones(n_targets))
        return cls(as_they_are, y.ndim == 1, _loss_of(params))

    def under(self, params):
        """Return the same targets with the loss that parameters name, if it fits."""
        loss = _loss_of(params)
        if loss == self.loss:
            return self
        asked, fitted = ((x.link, x.outputs_per_target) for x in (loss, self.loss))
        if asked != fitted:
            raise ValueError(
                "`loss` and `quantile` must ask for as many outputs of the same link "
                f"while training goes on, got {loss!r} after {self.loss!r}: use "
                "warm_start=False to start anew."
            )
        return replace(self, loss=loss)

    @property
    def n_outputs(self):
        """Number of outputs of the network."""
        return len(self.standardizer.mean) * self.loss.outputs_per_target

    def encode(self, y):
        """Turn y into columns of float64."""
        columns = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        n_targets = len(self.standardizer.mean)
        if columns.shape[1] != n_targets:
            raise ValueError(
                f"`y` has {columns.shape[1]} outputs, but {n_targets} were fitted."
            )
        self.loss.check(columns)
        return columns

    def decoded(self, y):
        """Return columns in the shape of y, float64."""
        return y[:, 0] if self.is_1d else y

    def fitted(self, y, weight, standardize, group=ALONE):
        """Learn the scale of every column, and its mean unless that is the unit."""
        has_log_link = self.loss.link == "log"
        if has_log_link and not (group.max(y.max(axis=0, initial=0.0)) > 0).all():
            raise ValueError(
                f"`y` must have a positive sum for loss={as_given(self.loss)}, but all "
                "values of a target are zero."
            )
        if not standardize:
            return self
        fit = fit_to_the_mean if has_log_link else fit_standardizer
        return replace(self, standardizer=fit(y, weight, group=group))

    def check_monotonic(self):
        """Raise for several quantiles: those below are the middle minus outputs."""
        if self.loss.outputs_per_target > 1:
            raise ValueError(
                "`monotonic_cst` takes one quantile only, since the distances between "
                f"several need not be monotone, got loss={self.loss!r}: fit an "
                "estimator for each."
            )

    def tensor(self, y):
        """Return the standardised columns."""
        return torch.tensor(self.standardizer(y))

    def notices(self):
        """Tell of targets that no later data can change."""
        if not np.isinf(self.standardizer.scale).any():
            return []
        return [
            "The target is constant in the first training data, and has no scale. It "
            "is predicted from now on, whatever later data say."
        ]

    def combine(self, outputs):
        """Return the outputs of the mean prediction, see ``Loss.combine``."""
        return self.loss.combine(torch.tensor(outputs)).numpy()

    def decode(self, outputs):
        """Return predictions in the units and the shape of y.

        A loss of several predictions for each target adds a last axis for them.
        """
        y = self.loss.decide(torch.tensor(outputs)).numpy()
        y = self.standardizer.inverse(y.swapaxes(1, -1)).swapaxes(1, -1)
        return y[:, 0] if self.is_1d else y

    def bounds(self, outputs):
        """Return the interval that the outputs speak of, in the units of y.

        It is that between the outer ones of several quantiles, or else the prediction
        twice.

        Returns
        -------
        low, high : ndarray of shape (n, n_targets)
        """
        predictions = self.decode(outputs)
        if self.loss.n_predictions:
            predictions = predictions[..., 0], predictions[..., -1]
        else:
            predictions = predictions, predictions
        return tuple(bound.reshape(len(outputs), -1) for bound in predictions)

    def nonconformity(self, outputs, y):
        """Return how far y is outside of the bounds, or minus how far it is inside.

        Of one prediction this is the absolute residual; of quantiles see Romano,
        Patterson and Candès, *Conformalized quantile regression*, NeurIPS 2019.
        """
        low, high = self.bounds(outputs)
        return np.maximum(low - y, y - high)

    def interval(self, bounds):
        """Return intervals, shape (n, n_targets, 2), in the shape of predictions."""
        if self.loss.link == "log":  # no target is negative
            bounds = np.maximum(bounds, 0.0)
        return bounds[:, 0] if self.is_1d else bounds

    def explained(self, outputs):
        """Return predictions in units of y, or logarithms if the link is one."""
        if self.loss.link != "log":
            scale = torch.tensor(self.standardizer.inverse_scale).to(outputs)
            outputs = self.loss.decide(outputs)
            outputs = (outputs.swapaxes(1, -1) * scale).swapaxes(1, -1)
        return outputs[:, 0] if self.is_1d else outputs

    def point(self, predictions):
        """Return one prediction for each target, which scores compare with y."""
        return self.loss.point(predictions)

    def scorer(self):
        """Return R2 for the squared error, and else minus the loss of scaled targets.

        All targets have this scale.
        """
        if self.loss == SquaredError():
            return get_scorer("r2")
        return make_scorer(self.mean_loss, greater_is_better=False)

    def mean_loss(self, y, predictions, sample_weight=None):
        """Compute the weighted mean loss of predictions, as scikit-learn's metrics do.

        Parameters
        ----------
        y, predictions : ndarray
            In the units of y, as ``decode`` returns them.
        sample_weight : ndarray of shape (n,), default=None

        Returns
        -------
        loss : float
            Of scaled targets.
        """
        y, several = self.encode(y), self.loss.n_predictions or ()
        predictions = np.reshape(predictions, (*y.shape, *np.atleast_1d(several)))
        scaled = self.standardizer(predictions.swapaxes(1, -1)).swapaxes(1, -1)
        losses = self.loss.of_predictions(torch.tensor(scaled), self.tensor(y))
        return float(np.average(losses.numpy(), weights=sample_weight))


@dataclass(frozen=True)
class ClassTargets(Targets):
    """Labels of classes: one logit each, or a single one, of the second of two."""

    classes: np.ndarray
    label_smoothing: float = 0.0
    class_weight: Any = None
    shares: tuple | None = None  # of the classes in the weight of the training set
    temperature: float = 1.0  # what the outputs are divided by to be logits

    has_classes = True
    longest_flow_time = FLOW_TIME_OF_CLASSES

    @staticmethod
    def check(y):
        """Raise for targets that are no labels."""
        check_classification_targets(y)

    @classmethod
    def of(cls, y, *, estimator_name, params, classes=None, group=ALONE):
        """Find the classes, which are those announced, or else those of y."""
        if classes is None:
            is_number = np.asarray(y).dtype.kind in "biuf"
            group.check_same("kind of labels", "numbers" if is_number else "texts")
            classes = np.concatenate(group.collect(np.unique(y)))
        classes = np.unique(classes)
        if len(classes) < 2:
            raise ValueError(
                f"{estimator_name} needs samples of at least two classes, "
                f"got one class: {classes.tolist()[0]!r}."
            )
        return cls(classes).under(params)

    def under(self, params):
        """Return the same classes with smoothing and weights as parameters say.

        The temperature is that of a network, which is to be trained now.
        """
        settings = {name: params[name] for name in ("label_smoothing", "class_weight")}
        return replace(self, **settings, temperature=1.0)

    @property
    def n_outputs(self):
        """Number of logits."""
        return len(self.classes) if len(self.classes) > 2 else 1

    @property
    def has_bins_on_mini_batches(self):
        """Of two classes; with more, bins are no help on most tables."""
        return len(self.classes) == 2

    @property
    def loss(self):
        """The cross-entropy of as many classes."""
        kind = CrossEntropy if len(self.classes) > 2 else LogisticLoss
        return kind(self.label_smoothing, self.shares)

    def fitted(self, y, weight, standardize, group=ALONE):
        """Learn the shares of the classes, if there are samples of all of them.

        They are known to a few samples only, of which half a one is added to each.
        """
        mass = group.sum(self.mass(y, weight))
        if not mass.all():
            return self
        mean = group.sum(weight.sum()) / group.sum(len(y))
        mass = mass / mean + 0.5
        return replace(self, shares=tuple((mass / mass.sum()).tolist()))

    def calibrated(self, outputs, y, weight, group=ALONE):
        """Return the same classes with the temperature that held-out samples ask for.

        Labels are not smoothed there.
        """
        samples = torch.tensor(outputs), self.tensor(y), torch.tensor(weight)
        temperature = fit_temperature(self.loss.for_validation(), *samples, group)
        return replace(self, temperature=temperature)

    def outputs_at_start(self):
        """Return the outputs of a network that knows the shares of the classes only."""
        if self.shares is None:
            return super().outputs_at_start()
        logits = np.log(self.shares)
        if len(self.classes) == 2:
            return logits[1:] - logits[0]
        return logits - logits.mean()

    def check_monotonic(self):
        """Raise for more than two classes, whose probabilities depend on all logits."""
        if len(self.classes) > 2:
            raise ValueError(
                "Only binary classification is supported. The type of the target is "
                f"multiclass, with {len(self.classes)} classes, and `monotonic_cst` "
                "constrains features: the probabilities depend on all outputs."
            )

    def mass(self, y, weight):
        """Return the weight of every class."""
        return np.bincount(y, weight, minlength=len(self.classes))

    def encode(self, y):
        """Return the index of every label among the classes."""
        unknown = np.setdiff1d(y, self.classes)
        if len(unknown):
            raise ValueError(
                f"`y` has labels that are not among the classes {self.classes}: "
                f"{unknown}."
            )
        return np.searchsorted(self.classes, y)

    def decoded(self, y):
        """Return the label of every index."""
        return self.classes[y]

    def weigh(self, y, weight, group=ALONE):
        """Multiply weights by ``class_weight``; "balanced" is of the weights' sums."""
        if isinstance(self.class_weight, list):
            raise ValueError(
                "`class_weight` can be a list only if y has a column for each of "
                f"several labels, got {self.class_weight!r}."
            )
        if self.class_weight is None:
            return weight
        given = self.class_weight
        factor = factors_of_classes(y, weight, self.classes, given, group)
        return some_weight(weight * factor, given, group)

    def strata(self, y):
        """Keep the classes in proportion."""
        return y

    def tensor(self, y):
        """Return class indices, or 0.0 and 1.0 where one logit tells two classes."""
        y = torch.tensor(y)
        return y if len(self.classes) > 2 else y.double()

    def combine(self, outputs):
        """Return the logits of the mean probabilities, exact where those round to 0."""
        if len(self.classes) > 2:
            return logsumexp(log_softmax(outputs, axis=2), axis=0) - log(len(outputs))
        return logits_of_means(outputs)

    def decode(self, outputs):
        """Return the labels of the largest logits."""
        if len(self.classes) == 2:
            return self.classes[(outputs.ravel() > 0).astype(int)]
        return self.classes[outputs.argmax(axis=1)]

    def explained(self, outputs):
        """Return the logits, in the shape of ``decision_function``."""
        return self.logits(outputs)

    def scorer(self):
        """Return minus the log loss over all classes, some of which y may lack.

        Among flow times that tell classes equally well, it prefers one whose
        probabilities are right.
        """
        return make_scorer(
            log_loss,
            greater_is_better=False,
            response_method="predict_proba",
            labels=self.classes,
        )

    def logits(self, outputs):
        """Return logits, at the temperature, in the shape of ``decision_function``."""
        logits = outputs / self.temperature
        return logits.ravel() if len(self.classes) == 2 else logits

    def probabilities(self, outputs):
        """Return the probability of every class, shape (n, n_classes)."""
        logits = self.logits(outputs)
        if len(self.classes) > 2:
            return softmax(logits, axis=1)
        return np.column_stack([expit(-logits), expit(logits)])

    def log_probabilities(self, outputs):
        """Return logarithms of the probabilities, exact where those round to 0."""
        logits = self.logits(outputs)
        if len(self.classes) > 2:
            return log_softmax(logits, axis=1)
        return np.column_stack([log_expit(-logits), log_expit(logits)])

    def nonconformity(self, outputs, y):
        """Return minus the logarithm of the probability of every sample's class."""
        return -np.take_along_axis(self.log_probabilities(outputs), y[:, None], axis=1)


class SoftClassTargets(ClassTargets):
    """Probabilities of classes, in place of labels: those of another classifier.

    They have a column for each class, in the order of the classes, and are fitted as
    they are: what is smoothed or weighed are labels.
    """

    checks = {"multi_output": True, "y_numeric": True}

    @staticmethod
    def check(y):
        """Raise for targets that are no probabilities, up to rounding of float32."""
        is_one = y.ndim == 2 and np.allclose(y.sum(axis=1), 1.0, atol=1e-4)
        if not is_one or (y < 0).any():
            raise ValueError(
                "Probabilities must not be negative, and have a sum of 1 over the "
                f"classes, got an array of shape {y.shape}, such as {y[:1].tolist()}."
            )

    def under(self, params):
        """Return the same classes, whatever parameters say of labels."""
        return self

    def of_labels(self, params):
        """Return the same classes and temperature, for trainings by labels to come."""
        targets = ClassTargets(self.classes, shares=self.shares).under(params)
        return replace(targets, temperature=self.temperature)

    def mass(self, y, weight):
        """Return the weighted sum of the probabilities of every class."""
        return weight @ y

    def encode(self, y):
        """Return probabilities in float64, whose sum is 1 up to rounding."""
        y = np.asarray(y, dtype=np.float64)
        return y / y.sum(axis=1, keepdims=True)

    def weigh(self, y, weight, group=ALONE):
        """Leave weights as they are."""
        return weight

    def decoded(self, y):
        """Return the labels of the likeliest classes."""
        return super().decoded(y.argmax(axis=1))

    def strata(self, y):
        """Keep the likeliest classes in proportion."""
        return y.argmax(axis=1)

    def nonconformity(self, outputs, y):
        """Take the likeliest class for that of a sample."""
        return super().nonconformity(outputs, y.argmax(axis=1))

    def tensor(self, y):
        """Return all probabilities, or those of the second of two classes."""
        return torch.tensor(y if len(self.classes) > 2 else y[:, 1])


def _loss_of(params):
    """Return the loss that parameters name; without any, the squared error."""
    return resolve_loss(params.get("loss", "squared_error"), params.get("quantile"))


def logits_of_means(logits):
    """Return the logits of probabilities averaged over the first axis of logits."""
    of_one, of_none = (logsumexp(log_expit(s * logits), axis=0) for s in (1, -1))
    return of_one - of_none


def factors_of_classes(y, weight, classes, class_weight, group=ALONE):
    """Return the factor of every sample's weight that is due to its class.

    Parameters
    ----------
    y : ndarray of int, shape (n,)
        Indices of classes.
    weight : ndarray of shape (n,)
        By whose sums classes are balanced.
    classes : ndarray of shape (n_classes,)
    class_weight : dict, "balanced" or None
    group : Alone, default=ALONE
        The processes that have the samples.

    Returns
    -------
    factors : ndarray of shape (n,)
    """
    if class_weight == "balanced":
        mass = group.sum(np.bincount(y, weight, minlength=len(classes)))
        factor = mass.sum() / (
            np.count_nonzero(mass) * np.maximum(mass, mass[mass > 0].min())
        )
    else:
        _check_class_weight(class_weight)
        factor = compute_class_weight(class_weight, classes=classes, y=classes[y])
    return factor[y]


def some_weight(weight, class_weight, group=ALONE):
    """Return weights, and raise if the classes have left none to any sample."""
    if not group.max(int(weight.any())):
        raise ValueError(
            "`class_weight` must leave some samples of positive weight, "
            f"got {class_weight!r}."
        )
    return weight


def _check_class_weight(class_weight):
    """Raise for weights of classes that are no weights."""
    for label, weight in (class_weight or {}).items():
        is_number = isinstance(weight, Real) and not isinstance(weight, bool)
        if not is_number or not 0 <= weight < inf:
            raise ValueError(
                "`class_weight` must map labels to finite numbers that are not "
                f"negative, got {weight!r} for the label {label!r}."
            )
