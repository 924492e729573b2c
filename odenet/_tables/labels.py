"""Several labels at once, of which a sample may have any: columns of 0 and 1."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from scipy.special import expit, log_expit, logit
from sklearn.metrics import make_scorer
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from odenet._distributed.group import ALONE
from odenet._losses.cross_entropy import MultilabelLoss
from odenet._tables.targets import (
    FLOW_TIME_OF_CLASSES,
    ClassTargets,
    Targets,
    factors_of_classes,
    logits_of_means,
    some_weight,
)

WITHOUT_AND_WITH = np.arange(2)  # the two classes of every label
# A set of labels that fewer rows have is no group of its own when rows are held out. So
# one row of it is about the tenth that is held out by default.
FEWEST_ROWS_OF_A_SET = 10
MOST_VALUES_TOLD = 5  # of a wrong y in an error: a choice


@dataclass(frozen=True)
class LabelTargets(Targets):
    """Labels that a sample may have or not, each with a logit of its own."""

    n_labels: int
    label_smoothing: float = 0.0
    class_weight: Any = None
    shares: tuple | None = None  # of the samples that have each label

    checks = {"multi_output": True}
    has_classes = True
    is_calibrated = False  # a set of sets of labels is too much to be told
    longest_flow_time = FLOW_TIME_OF_CLASSES

    @staticmethod
    def check(y):
        """Raise for targets that are no columns of 0 and 1."""
        check_classification_targets(y)
        if y.ndim != 2:
            raise ValueError(
                f"`y` must have a column for each of the labels, got shape {y.shape}."
            )
        values = np.unique(y.data if issparse(y) else y)
        of_labels = type_of_target(y) == "multilabel-indicator"
        if not of_labels or not np.isin(values, WITHOUT_AND_WITH).all():
            more = "" if len(values) <= MOST_VALUES_TOLD else " and more"
            raise ValueError(
                "`y` of several columns must hold 0 and 1, for the labels that a "
                f"sample has, got {values[:MOST_VALUES_TOLD].tolist()}{more}. For "
                "several targets with classes of their own, wrap the classifier in "
                "sklearn.multioutput.MultiOutputClassifier."
            )

    @classmethod
    def of(cls, y, *, estimator_name, params, classes=None, group=ALONE):
        """Count the labels, which are the columns of y."""
        targets = cls(y.shape[1]).under(params)
        if classes is not None and not np.array_equal(
            np.unique(classes), targets.classes
        ):
            raise ValueError(
                f"`classes` must be the numbers of the {y.shape[1]} columns of y, "
                f"{targets.classes.tolist()}, got {np.asarray(classes).tolist()}."
            )
        return targets

    def under(self, params):
        """Return the same labels with smoothing and weights as parameters say."""
        settings = {name: params[name] for name in ("label_smoothing", "class_weight")}
        return replace(self, **settings)

    @property
    def n_outputs(self):
        """Number of logits."""
        return self.n_labels

    @property
    def classes(self):
        """Numbers of the labels, which are the columns of y."""
        return np.arange(self.n_labels)

    @property
    def loss(self):
        """The sum of the cross-entropies of the labels."""
        return MultilabelLoss(self.label_smoothing, self.shares)

    def encode(self, y):
        """Turn y into columns of float64."""
        if y.shape[1] != self.n_labels:
            raise ValueError(
                f"`y` has {y.shape[1]} labels, but {self.n_labels} were fitted."
            )
        return (y.toarray() if issparse(y) else np.asarray(y)).astype(np.float64)

    def fitted(self, y, weight, standardize, group=ALONE):
        """Learn the shares of the labels.

        They are known to a few samples only, of which half a one with the label and
        half a one without it are added. So labels that all have, or none, have finite
        logits.
        """
        mass = weight @ y / weight.mean()
        shares = (mass + 0.5) / (len(y) + 1)
        return replace(self, shares=tuple(shares.tolist()))

    def outputs_at_start(self):
        """Return the outputs of a network that knows the shares of the labels only."""
        if self.shares is None:
            return super().outputs_at_start()
        return logit(self.shares)

    def weigh(self, y, weight, group=ALONE):
        """Multiply weights by ``class_weight``, that of one label after the other.

        scikit-learn's trees do so as well.
        """
        given, n = self.class_weight, self.n_labels
        each = [given] * n if given in (None, "balanced") else given
        is_list = isinstance(each, list) and len(each) == n
        if not is_list or not all(
            isinstance(one, dict) or one in (None, "balanced") for one in each
        ):
            raise ValueError(
                "`class_weight` of several labels must be 'balanced', None, or a list "
                f"of {n} dicts, one for each label, got {given!r}."
            )
        factor = np.ones(len(y))
        for has_label, class_weight in zip(y.T.astype(int), each, strict=True):
            factor *= factors_of_classes(
                has_label, weight, WITHOUT_AND_WITH, class_weight
            )
        return some_weight(weight * factor, given)

    def strata(self, y):
        """Keep the sets of labels in proportion; those of few rows are one group."""
        _, group, n_rows = np.unique(y, axis=0, return_inverse=True, return_counts=True)
        return np.where(n_rows[group] < FEWEST_ROWS_OF_A_SET, -1, group)

    def tensor(self, y):
        """Return the columns of 0.0 and 1.0."""
        return torch.tensor(y)

    def decoded(self, y):
        """Return columns of 0 and 1 as integers."""
        return y.astype(int)

    def combine(self, outputs):
        """Return the logits of the mean probability of every label."""
        return logits_of_means(outputs)

    def decode(self, outputs):
        """Return 1 for every label that is likelier than not, and 0 for the others."""
        return (outputs > 0).astype(int)

    def scorer(self):
        """Return minus the log loss, summed over the labels.

        It is computed from logits, which scikit-learn hands on as they are: of two
        labels it takes the probabilities for those of two classes.
        """
        return make_scorer(
            self.log_loss,
            greater_is_better=False,
            response_method="decision_function",
        )

    def log_loss(self, y, logits, sample_weight=None):
        """Compute the weighted mean log loss, summed over the labels.

        Parameters
        ----------
        y : array-like or sparse matrix of shape (n, n_labels)
        logits : ndarray of shape (n, n_labels)
        sample_weight : array-like of shape (n,), default=None

        Returns
        -------
        loss : float
        """
        y = self.encode(y if issparse(y) else np.asarray(y))
        loss = self.loss.for_validation()
        losses = loss.per_sample(torch.tensor(logits), self.tensor(y))
        return float(np.average(losses.numpy(), weights=sample_weight))

    def logits(self, outputs):
        """Return the logit of every label."""
        return outputs

    def probabilities(self, outputs):
        """Return the probability of every label, shape (n, n_labels)."""
        return expit(outputs)

    def log_probabilities(self, outputs):
        """Return logarithms of the probabilities, exact where those round to 0."""
        return log_expit(outputs)

    def contents(self):
        """Return words for what a sample is labelled with."""
        return f"{self.n_labels} labels"


def kind_of_classes(y):
    """Return the class of targets that a classifier makes of y, as it was passed.

    Several columns are labels. A single one holds classes, as a list of them does.
    """
    shape = (y if hasattr(y, "shape") else np.asarray(y)).shape
    return LabelTargets if len(shape) == 2 and shape[1] > 1 else ClassTargets
