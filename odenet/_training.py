"""Training by a skorch net: one path for all solvers. The only file that knows skorch.

One epoch is one pass over the batches: for the full-batch solvers, one step of the flow.
"""

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, isfinite, log

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EpochTimer, PassthroughScoring
from tqdm.auto import tqdm

from odenet._losses import penalty

MAX_STATE_BYTES = 2**28
PATIENCE = 3.0
SETTLED = 10.0
FLAT = 1e-4
SE = 1.0


@dataclass(frozen=True)
class Samples:
    """Tensors with one row a sample; the weights have mean one."""

    X: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor

    def __len__(self):
        return len(self.y)

    def batch(self, index=slice(None)):
        """Inputs and targets in the form that skorch hands around."""
        return {"X": self.X[index], "weight": self.weight[index]}, self.y[index]


class SliceLoader:
    """Batches by slicing tensors, shuffled by a generator unless there is only one."""

    def __init__(self, samples, batch_size, generator):
        self.samples = samples
        self.batch_size = batch_size
        self.generator = generator

    def __iter__(self):
        n = len(self.samples)
        if self.batch_size is None or self.batch_size >= n:
            yield self.samples.batch()
            return
        order = torch.randperm(n, generator=self.generator)
        order = order.to(self.samples.y.device)
        for index in order.split(self.batch_size):
            yield self.samples.batch(index)


class StopTraining(KeyboardInterrupt):
    """Ends skorch's loop the way its own callbacks do."""


class TrainingNet(NeuralNet):
    """A skorch net around a residual network, a loss and a solver.

    ``partial_fit`` takes the pair (training samples, validation samples or None).
    """

    def __init__(
        self,
        module,
        loss,
        solver,
        *,
        horizon=inf,
        alpha=0.0,
        smoothness_penalty=0.0,
        max_epochs=None,
        generator=None,
        monitor=None,
        callbacks=None,
    ):
        self.loss = loss
        self.solver = solver
        self.horizon = horizon
        self.alpha = alpha
        self.smoothness_penalty = smoothness_penalty
        self.generator = generator
        self.monitor = monitor or Monitor()
        self.stop_reason = None
        super().__init__(
            module,
            criterion=loss,
            max_epochs=max_epochs or solver.max_epochs,
            callbacks=callbacks,
            train_split=None,
            device=None,
            verbose=0,
        )

    @property
    def _default_callbacks(self):
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
            ("monitor", self.monitor),
        ]

    def resume(self, history, flow_time, n_grad_evals):
        """Go on where an earlier training ended."""
        self.history.extend(history)
        if hasattr(self.optimizer_, "resume"):
            self.optimizer_.resume(flow_time, n_grad_evals)

    @property
    def flow_time(self):
        """Flow time of the weights, None for the mini-batch solvers."""
        return self.monitor.flow_time

    @property
    def n_grad_evals(self):
        """Number of gradients computed: of the flow's steps, or of mini-batches."""
        if hasattr(self.optimizer_, "n_grad_evals"):
            return self.optimizer_.n_grad_evals
        return sum(self.history[:, "train_batch_count"])

    @contextmanager
    def observed_by(self, callback):
        """One callback more, for the time of the context."""
        self.callbacks_.append((type(callback).__name__, callback))
        try:
            yield
        finally:
            self.callbacks_.pop()

    def initialize_criterion(self):
        """The loss is no torch module and has nothing to initialise."""
        self.criterion_ = self.loss
        return self

    def initialize_optimizer(self, triggered_directly=None):
        """The optimizer comes from the solver."""
        self.optimizer_ = self.solver.make_optimizer(self.module_, self.horizon)
        return self

    def get_split_datasets(self, X, y=None, **fit_params):
        """X is already the pair of training and validation samples."""
        return X

    def get_iterator(self, dataset, training=False):
        """Batches of slices; validation samples are one batch."""
        batch_size = self.solver.batch_size if training else None
        return SliceLoader(dataset, batch_size, self.generator)

    def infer(self, x, **fit_params):
        """Output of the network, without the sample weights."""
        return self.module_(x["X"])

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Weighted mean of the loss, without the penalties."""
        losses = self.loss.per_sample(y_pred, y_true)
        return (X["weight"] * losses).sum() / X["weight"].sum()

    def validation_step(self, batch, **fit_params):
        """Adds the score to skorch's validation loss."""
        step = super().validation_step(batch, **fit_params)
        X, y = batch
        score = self.loss.score(step["y_pred"], y, X["weight"])
        self.history.record("valid_score", score)
        self.monitor.valid_losses = self.loss.per_sample(step["y_pred"], y)
        self.monitor.valid_weight = X["weight"]
        return step

    def train_step(self, batch, **fit_params):
        """One step of the optimizer; a flow's loss is the one where the step ends."""
        outputs = []

        def closure():
            self.module_.zero_grad()
            outputs[:], objective = self._accumulate_gradients(batch)
            self.notify(
                "on_grad_computed",
                named_parameters=self.module_.named_parameters(),
                batch=batch,
                training=True,
            )
            return objective

        self._set_training(True)
        loss = self.optimizer_.step(closure)
        return {"loss": loss, "y_pred": torch.cat(outputs)}

    def _accumulate_gradients(self, batch):
        """Gradient of the objective, summed over chunks that bound the memory."""
        X, y = batch
        total, outputs = y.new_zeros((), dtype=X["weight"].dtype), []
        chunk = chunk_size(self.module_)
        parts = zip(*(t.split(chunk) for t in (X["X"], X["weight"], y)), strict=True)
        for x_part, weight, y_part in parts:
            output = self.module_(x_part)
            loss = (weight * self.loss.per_sample(output, y_part)).sum() / len(y)
            loss.backward()
            total += loss.detach()
            outputs.append(output.detach())
        extra = penalty(self.module_, self.alpha, self.smoothness_penalty)
        if torch.is_tensor(extra):
            extra.backward()
            total += extra.detach()
        return outputs, total

    @torch.no_grad()
    def objective(self, samples):
        """Value of the objective on samples, without gradients."""
        total = penalty(self.module_, self.alpha, self.smoothness_penalty)
        for start in range(0, len(samples), chunk := chunk_size(self.module_)):
            X, y = samples.batch(slice(start, start + chunk))
            losses = self.loss.per_sample(self.module_(X["X"]), y)
            total = total + (X["weight"] * losses).sum() / len(samples)
        return float(total)

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """skorch's loop; remembers why it ended."""
        self.stop_reason = None
        try:
            super().fit_loop(X, y, epochs=epochs, **fit_params)
        except StopTraining:
            pass
        except KeyboardInterrupt as interrupt:
            self.stop_reason = "callback" if _from_skorch(interrupt) else "interrupted"
        self.stop_reason = self.stop_reason or "max_epochs"
        return self

    def notify(self, method_name, **cb_kwargs):
        """Stops after an epoch that all callbacks have seen."""
        super().notify(method_name, **cb_kwargs)
        if method_name == "on_epoch_end" and self.stop_reason:
            raise StopTraining


def _from_skorch(interrupt):
    """Whether one of skorch's callbacks raised it, as its EarlyStopping does."""
    traceback = interrupt.__traceback__
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    name = traceback.tb_frame.f_globals.get("__name__", "")
    return name.startswith("skorch.callbacks")


def chunk_size(module):
    """Samples whose stored states fit into MAX_STATE_BYTES."""
    values = module.depth * (2 * module.state_dim + 3 * module.width)
    return max(1, MAX_STATE_BYTES // (values * module.V.element_size()))


class Monitor(Callback):
    """Records the flow, keeps the best weights and decides when to stop.

    Parameters
    ----------
    early_stopping : bool, default=False
        Whether the validation loss decides when to stop and which weights to keep.
    """

    def __init__(self, early_stopping=False):
        self.early_stopping = early_stopping

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """The loss at the start: nothing can be trained if it is not finite."""
        self.start_loss = net.objective(X[0])
        if not isfinite(self.start_loss):
            raise FloatingPointError(
                f"The training loss is {self.start_loss} before the first step. Scale "
                "the data, or leave `standardize=True`."
            )
        self.reference = None
        self.flow_time = getattr(net.optimizer_, "flow_time", None)
        self.n_evals_before = getattr(net.optimizer_, "n_grad_evals", 0)
        self.best_loss, self.best_epoch = inf, len(net.history)
        self.best_time = self.kept_time = self.flow_time
        self.kept_losses = None
        self.best_weights = _copy_weights(net.module_)

    def on_epoch_end(self, net, **kwargs):
        """Record, keep the best, judge."""
        flow = net.optimizer_
        self.flow_time = getattr(flow, "flow_time", None)
        for name in ("flow_time", "n_grad_evals", "n_rejected", "spectral_radius"):
            if hasattr(flow, name):
                net.history.record(name, getattr(flow, name))
        row = net.history[-1]
        loss = row["valid_loss"] if self.early_stopping else row["train_loss"]
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.best_time = loss, row["epoch"], self.flow_time
        if self._is_improvement(loss):
            self.kept_time = self.flow_time
            self.best_weights = _copy_weights(net.module_)
        net.stop_reason = self._reason_to_stop(net, row)

    def _is_improvement(self, loss):
        if not self.early_stopping:
            return loss <= self.best_loss
        if self.kept_losses is not None:
            if not self._gain(self.kept_losses, self.valid_losses):
                return False
        self.kept_losses = self.valid_losses
        return True

    def _gain(self, a, b):
        w = self.valid_weight / self.valid_weight.sum()
        gain = a - b
        mean = (w * gain).sum()
        se = ((w * (gain - mean).square()).sum() / len(w)).sqrt()
        return bool(mean > SE * se)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Go back to the best weights where that is asked for, or needed."""
        if net.stop_reason != "diverged":
            loss = net.objective(X[0])
            if not isfinite(loss) or loss > 2 * self.start_loss:
                net.stop_reason = "diverged"
        if self.early_stopping or net.stop_reason == "diverged":
            net.module_.load_state_dict(self.best_weights)
            self.flow_time = self.kept_time
        del self.best_weights

    def _reason_to_stop(self, net, row):
        """A word, or None to go on."""
        flow = net.optimizer_
        if not isfinite(row["train_loss"]) or getattr(flow, "diverged", False):
            return "diverged"
        if self.flow_time is not None and self.flow_time >= net.horizon:
            return "horizon"
        if self.early_stopping and self._validation_has_risen(net, row["epoch"]):
            return "early_stopping"
        if self.flow_time is not None and self._is_stationary(net, row["train_loss"]):
            return "stationary"
        n_evals = getattr(flow, "n_grad_evals", 0) - self.n_evals_before
        if n_evals >= getattr(net.solver, "max_evals", inf):
            return "max_evals"
        return None

    def _validation_has_risen(self, net, epoch):
        """No improvement for long; a flow is given time in proportion to its age."""
        waited = epoch - self.best_epoch
        if self.flow_time is None:
            return waited >= net.solver.patience
        patient_until = max(SETTLED, PATIENCE * self.best_time)
        if waited < 10 or self.flow_time < patient_until:
            return False
        return self._gain(self.valid_losses, self.kept_losses) 

    def _is_stationary(self, net, loss):
        """No decrease beyond rounding, or d loss / d log t below FLAT times the loss."""
        eps = torch.finfo(net.module_.V.dtype).eps
        if net.optimizer_.stalled or loss <= eps * self.start_loss:
            return True
        if self.flow_time < SETTLED:
            return False
        if self.reference is None:
            self.reference = self.flow_time, loss
            return False
        elapsed = log(self.flow_time / self.reference[0])
        if elapsed < 0.2:
            return False
        decrease = (self.reference[1] - loss) / loss
        self.reference = self.flow_time, loss
        return decrease < FLAT * elapsed


def _copy_weights(module):
    return {name: p.detach().clone() for name, p in module.state_dict().items()}


class ProgressBar(Callback):
    """Bar over the flow time, or over epochs, with loss and gradient evaluations."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Open the bar."""
        self.is_flow = hasattr(net.optimizer_, "flow_time")
        total = net.horizon if self.is_flow else net.max_epochs
        self.bar = tqdm(
            total=total if isfinite(total) else None,
            unit="t" if self.is_flow else "epoch",
            bar_format="{l_bar}{bar}| {n:.4g}/{total_fmt} {unit} [{elapsed}{postfix}]",
            file=sys.stderr,
        )

    def on_epoch_end(self, net, **kwargs):
        """Move the bar."""
        row = net.history[-1]
        shown = {"loss": f"{row['train_loss']:.3g}"}
        if "valid_loss" in row:
            shown["valid"] = f"{row['valid_loss']:.3g}"
        if self.is_flow:
            shown["evals"] = row["n_grad_evals"]
        self.bar.set_postfix(shown, refresh=False)
        self.bar.n = row["flow_time"] if self.is_flow else row["epoch"]
        self.bar.refresh()

    def on_train_end(self, net, **kwargs):
        """Close the bar."""
        self.bar.close()


class ScikitLearnCallbacks(Callback):
    """Hands every epoch to scikit-learn's own callbacks (scikit-learn 1.9 or later)."""

    def __init__(self, estimator, context, X, y, fitted):
        self.estimator = estimator
        self.context = context
        self.X = X
        self.y = y
        self.fitted = fitted

    def on_epoch_begin(self, net, **kwargs):
        """Open a task for the epoch."""
        self.task = self.context.subcontext(task_name="epoch")
        self.task.call_on_fit_task_begin(estimator=self.estimator, X=self.X, y=self.y)

    def on_epoch_end(self, net, **kwargs):
        """Close the task; a callback may ask to stop."""
        stop = self.task.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            y=self.y,
            reconstruction_attributes={**self.fitted, "net_": net},
        )
        if stop and not net.stop_reason:
            net.stop_reason = "callback"
