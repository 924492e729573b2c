"""From arrays to tensors: the samples and the network that a training starts with."""

from contextlib import contextmanager
from dataclasses import replace
from math import sqrt

import numpy as np
import torch
from sklearn.utils import check_array, check_random_state, check_X_y
from sklearn.utils.validation import validate_data

from odenet._network.residual import ResidualNetwork, default_state_dim
from odenet._tables.columns import as_table, read_columns
from odenet._tables.encoder import fit_encoder
from odenet._tables.rows import validation_mask
from odenet._training.depth.depths import DEEPEST
from odenet._training.samples import Samples
from odenet._utils.devices import resolve_device
from odenet._utils.sklearn_private import check_sample_weight
from odenet.schemes import SCHEMES
from odenet.solvers import resolve_solver

MIN_ROWS_TO_STOP_EARLY = 200
MIN_ROWS_TO_HOLD_OUT = 100
LARGEST_SHARE_TO_HOLD_OUT = 0.3
START_SCALE = 4.0  # standard deviation of W at the start, for schemes given by name
STATE_SHARE = 1 / 8  # |h_0|^2 / q of a standardised sample
LIMIT = 4.0  # bound of standardised inputs, in standard deviations


class PreparationMixin:
    """What an estimator does before it trains."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.allow_nan
        chosen = self.categorical_features
        tags.input_tags.categorical = not (chosen is None or isinstance(chosen, str))
        return tags

    def _resolve_device(self):
        device = resolve_device(self.device)
        if device.type == "mps" and self.dtype == "float64":
            raise ValueError("`dtype` must be 'float32' on the device 'mps'.")
        return device

    def _resolve_solver(self, n_rows=0):
        return resolve_solver(self.solver, n_rows, self.flow_time)

    def _draw_seed(self):
        """A seed and a generator; the global random states are neither read nor set."""
        if self.random_state is None:
            seed = np.random.SeedSequence().generate_state(1)[0]
        else:
            seed = check_random_state(self.random_state).randint(2**31)
        return int(seed), torch.Generator().manual_seed(int(seed))

    def _read(self, X, y="no_validation", reset=False, **checks):
        """Inputs as a matrix of numbers, with checks as of ``validate_data``."""
        if reset:
            announced = getattr(self, "_columns_to_come", None)
            self._columns = announced or read_columns(
                X, self.categorical_features, self.allow_nan
            )
        columns = self._columns
        checks["ensure_all_finite"] = "allow-nan" if columns.allow_nan else True
        checks["dtype"] = np.float64
        if not columns.categories:
            with _telling_of_allow_nan():
                return validate_data(self, X, y, reset=reset, **checks)
        X = as_table(X)
        validate_data(self, X, y, reset=reset, skip_check_array=True)
        X = columns.read(X)
        with _telling_of_allow_nan():
            if isinstance(y, str):
                return check_array(X, estimator=self, input_name="X", **checks)
            return check_X_y(X, y, estimator=self, **checks)

    def _check_samples(self, X, y, sample_weight, reset):
        """Inputs, encoded targets and weights of the samples that have any weight."""
        X, y = self._check_X_y(X, y, reset)
        weight = check_sample_weight(sample_weight, X)
        kept = weight > 0
        if not kept.all():
            X, y = X[kept], y[kept]
        y = self._encode_target(y, reset)
        if reset:
            X = self._settle(X)
        weight = self._weigh_classes(y, weight[kept])
        if not weight.any():
            raise ValueError(
                "`class_weight` must leave some samples of positive weight, "
                f"got {self.class_weight!r}."
            )
        return X, y, weight

    def _settle(self, X):
        """What depends on the values of the training inputs, and the inputs."""
        if self._columns.numeric is None:
            self._columns, X = self._columns.settled(X, scored=self.standardize)
        return X

    def _check_validation_samples(self, X_val, y_val):
        if (X_val is None) != (y_val is None):
            raise ValueError("`X_val` and `y_val` must be given together.")
        if X_val is None:
            return None
        return self._check_samples(X_val, y_val, None, reset=False)

    def _weigh_classes(self, y, weight):
        return weight

    def _holds_out(self, n_rows):
        if self.early_stopping == "auto":
            return n_rows >= MIN_ROWS_TO_STOP_EARLY
        return self.early_stopping and n_rows > 1

    def _hold_out(self, X, y, weight):
        """Training and validation samples; both None where no row is to spare."""
        fraction = self.validation_fraction
        if self.early_stopping == "auto":
            least = MIN_ROWS_TO_HOLD_OUT / len(y)
            fraction = max(fraction, min(LARGEST_SHARE_TO_HOLD_OUT, least))
        mask = validation_mask(weight, fraction, self._strata(y))
        if not mask.any():
            return None, None
        return (X[~mask], y[~mask], weight[~mask]), (X[mask], y[mask], weight[mask])

    def _start(self, samples, generator):
        """The encoding and the network at the start, as fitted attributes."""
        X, y, weight = samples
        n_inputs, n_outputs = self._columns.n_inputs, self._n_network_outputs
        state_dim = self.state_dim or default_state_dim(n_inputs, n_outputs)
        module = ResidualNetwork(
            n_inputs,
            n_outputs,
            depth=DEEPEST if self.depth == "auto" else self.depth,
            width=self.width,
            state_dim=state_dim,
            activation=self.activation,
            init=self._scheme(),
            backward=self.backward,
            generator=generator,
            dtype=getattr(torch, self.dtype),
        )
        scaling = {}
        if self.standardize:
            gain = sqrt(STATE_SHARE * max(1.0, state_dim / (n_inputs + 1)))
            scaling = {"gain": gain, "limit": LIMIT}
        return {
            "module_": module,
            "_X_encoder": fit_encoder(self._columns, X, weight, **scaling),
            "_y_standardizer": self._fit_y_standardizer(y, weight),
        }

    def _scheme(self):
        """A scheme given by name starts from wider weights than the paper's."""
        if callable(self.init):
            return self.init
        return replace(SCHEMES[self.init], scale=START_SCALE)

    def _tensors(self, fitted, X, y, weight, weights_have_mean_one=True):
        """Samples on the network's device."""
        like = {
            "dtype": fitted["module_"].V.dtype,
            "device": fitted["module_"].V.device,
        }
        if weights_have_mean_one:
            weight = weight / weight.max()
            weight = weight / weight.mean()
        y = self._target_tensor(y, fitted["_y_standardizer"])
        return Samples(
            X=torch.tensor(fitted["_X_encoder"](X), **like),
            y=y.to(**like) if y.is_floating_point() else y.to(like["device"]),
            weight=torch.tensor(weight, **like),
        )


@contextmanager
def _telling_of_allow_nan():
    """scikit-learn recommends other estimators where X has missing numbers."""
    try:
        yield
    except ValueError as error:
        if "Input X contains NaN" not in str(error):
            raise
        raise ValueError(
            "Input X contains NaN. Missing numbers are taken by an estimator that is "
            "fitted with `allow_nan=True`."
        ) from error
