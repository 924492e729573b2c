"""What all experiments use: the paper's model and data, callbacks, and slopes.

The model is equation 1 of Marion, Wu, Sander and Biau (ICLR 2024) with the start of
their section 3, as an estimator of this package: W standard Gaussian and the same in
all layers, V = 0, A = (I; 0), B = (0, I), no standardisation, the squared error summed
over the outputs. The estimator appends the constant 1 to x, which counts as an input.
"""

import json
import sys
import warnings
from math import inf, sqrt
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

sys.path.append(str(Path(__file__).parents[1]))
from _report import describe, machine, parse_options, save

from odenet import ResODERegressor
from odenet.schemes import Tied

WATCHED = sys.stderr.isatty()  # whether somebody can see the progress bars

__all__ = [
    "WATCHED",
    "Parts",
    "Watch",
    "describe",
    "follow_flow",
    "gaussian_pairs",
    "increments",
    "log_slope",
    "machine",
    "mean_loss",
    "paper_regressor",
    "parse_options",
    "save",
    "without_warnings_about_training",
]


def gaussian_pairs(n_samples, n_features, n_outputs, seed):
    """Draw inputs and targets, all standard Gaussian and independent."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features))
    return X, rng.standard_normal((n_samples, n_outputs))


def paper_regressor(X, y, depth, *, scale="unit inputs", **settings):
    """Make the model of the paper, unfitted, for given data.

    ``scale`` is the standard deviation of W. In section 3 of the paper it is 1. The
    default is sqrt(q), so that W h / sqrt(q) is as in the scripts of the authors, which
    have no factor 1 / sqrt(q).
    """
    state_dim = X.shape[1] + 1 + y.shape[1]
    settings = {
        "init": Tied(sqrt(state_dim) if scale == "unit inputs" else scale),
        "state_dim": state_dim,
        "depth_schedule": None,
        "early_stopping": False,
        "standardize": False,
        "device": "cpu",
        "verbose": int(WATCHED),
        **settings,
    }
    return ResODERegressor(depth, **settings)


class Watch(Callback):
    """Calls ``visit(module, flow_time)`` where the flow times given are reached.

    Parameters
    ----------
    visit : callable
    flow_times : sequence of float
        In ascending order. Steps of an adaptive flow are made to end there.
    every_step : callable, default=None
        Called with the module after every step.
    """

    def __init__(self, visit, flow_times, every_step=None):
        self.visit = visit
        self.flow_times = flow_times
        self.every_step = every_step

    def on_train_begin(self, net, **kwargs):
        """Let the first step end at the first flow time, at the latest."""
        self.left = list(self.flow_times)
        self._limit_steps(net)

    def on_epoch_end(self, net, **kwargs):
        """Call the functions that are due after a step."""
        if self.every_step is not None:
            self.every_step(net.module_)
        while self.left and net.flow_time >= self.left[0] * (1 - 1e-9):
            self.visit(net.module_, self.left.pop(0))
        self._limit_steps(net)

    def _limit_steps(self, net):
        """Let the next step end at the next flow time, at the latest."""
        net.optimizer_.horizon = min([net.horizon, *self.left[:1]])


def follow_flow(flow, network, x, y, most_gradients=inf):
    """Let a flow train a network to its horizon, or as far as it comes.

    Parameters
    ----------
    flow : GradientFlow
    network : ResidualNetwork
    x, y : Tensor
    most_gradients : int, default=inf
        After so many, it is given up.
    """

    def closure():
        flow.zero_grad()
        loss = mean_loss(network(x), y)
        loss.backward()
        return loss

    while flow.flow_time < flow.horizon and flow.n_grad_evals <= most_gradients:
        flow.step(closure)
        if flow.stalled or flow.diverged:
            return


def mean_loss(outputs, y):
    """Return the mean over samples of the squared error, summed over outputs."""
    return (outputs - y).square().sum(dim=1).mean()


@torch.no_grad()
def increments(module):
    """Return the norms of Z_{k+1} - Z_k with Z = (V, W), shape (L - 1,)."""
    squares = [
        (p[1:] - p[:-1]).flatten(1).square().sum(dim=1) for p in (module.V, module.W)
    ]
    return torch.stack(squares).sum(dim=0).sqrt()


def log_slope(x, y, confidence=0.95):
    """Fit log y against log x; return the slope, and half its confidence interval."""
    if not np.all(np.array(y) > 0):
        return float("nan"), float("nan")
    fit = stats.linregress(np.log(x), np.log(y))
    if len(x) < 3:
        return fit.slope, float("nan")
    quantile = stats.t.ppf(0.5 + confidence / 2, len(x) - 2)
    return float(fit.slope), float(quantile * fit.stderr)


def without_warnings_about_training():
    """Ignore warnings of runs that are meant to end where they do, or to be rough."""
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    warnings.filterwarnings("ignore", message=".*not smooth in depth")


class Parts:
    """The results, part by part. Parts that are in the JSON file are not run again."""

    def __init__(self, options):
        self.path = Path(options.json) if options.json else None
        self.found, self.quick = {}, options.quick
        if self.path and self.path.exists():
            earlier = json.loads(self.path.read_text())
            if earlier["quick"] == self.quick:
                self.found = earlier["parts"]

    def __call__(self, name, run, *args):
        """Return the result of ``run(*args)``, as JSON holds it, or what was stored."""
        if name not in self.found:
            if WATCHED:
                print(name, file=sys.stderr)
            self.found[name] = json.loads(json.dumps(run(*args)))
            if self.path:
                self.path.write_text(json.dumps(self.results(), indent=1))
        return self.found[name]

    def results(self, **more):
        """Return the contents of the JSON file."""
        return {"quick": self.quick, **more, "parts": self.found}
