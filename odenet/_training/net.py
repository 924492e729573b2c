"""Training by a skorch net: one path for all solvers.

An epoch is a pass over the batches: for the full-batch solvers, one step of the flow.
"""

from contextlib import contextmanager, nullcontext
from math import inf

import torch
from skorch import NeuralNet
from skorch.callbacks import EpochTimer, LRScheduler, PassthroughScoring
from torch.nn import Module
from torch.optim.lr_scheduler import CosineAnnealingLR

from odenet._network.fast_layers import rows_at_once
from odenet._network.gradients import MAX_GRAPHS, add_gradients
from odenet._network.scratch import current_scratch
from odenet._optim.averaging import RunningAverage
from odenet._training.batches import SliceLoader
from odenet._training.monitor import Monitor
from odenet._training.penalties import penalty
from odenet._training.plan import Progress
from odenet._training.stop_reason import StopReason

# Of the states of all layers at once: half a gigabyte on the CPU; on a GPU a share of
# its memory, of which all the captured graphs that are kept then take up half.
MAX_STATE_BYTES = 2**29
SHARE_OF_A_GPU = 1 / (2 * MAX_GRAPHS)
IMAGE_ROWS = 1024  # images at once, where nothing is trained


class StopTraining(KeyboardInterrupt):
    """End skorch's loop the way its own callbacks do."""


class TrainingNet(NeuralNet):
    """A skorch net around a residual network, a loss and a solver.

    ``partial_fit`` takes the pair (training samples, validation samples or None). A row
    of the history has the role to "fit", or to "choose" a flow time.

    Parameters
    ----------
    module : nn.Module
        The network.
    loss : Loss
    solver : Solver
    horizon : float, default=inf
        Flow time at which a flow ends. A schedule of depths may bring it nearer.
    alpha, smoothness_penalty : float, default=0.0
    generator : torch.Generator, default=None
    monitor : Monitor, default=None
        Decides when training ends, and which weights are kept.
    augmentation : callable, default=None
        ``augmentation(X, generator)`` varies the inputs of a batch.
    callbacks : list of skorch callbacks, default=None
    max_epochs : int, default=None
        Passes over every part of a stream; None is the solver's, over all samples.

    Attributes
    ----------
    stop_reason : StopReason or None
        Why training ends after the current epoch, or has ended.
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
        generator=None,
        monitor=None,
        augmentation=None,
        callbacks=None,
        max_epochs=None,
    ):
        self.loss = loss
        self.solver = solver
        self.horizon = horizon
        self.alpha = alpha
        self.smoothness_penalty = smoothness_penalty
        self.generator = generator
        self.monitor = monitor or Monitor()
        self.augmentation = augmentation
        self.trains_on_parts = max_epochs is not None
        self.stop_reason = self.average = None
        self.rows_before = self.evals_before = 0
        self.curves = {}  # columns of the history, as far as they have been read
        super().__init__(
            module,
            criterion=loss,
            max_epochs=max_epochs or solver.max_epochs,
            callbacks=callbacks,
            train_split=None,
            device=None,
            verbose=1,  # of callbacks that print: those that a user has asked for
        )

    @property
    def _default_callbacks(self):
        callbacks = [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
            ("monitor", self.monitor),
        ]
        if not self.solver.has_constant_rate:
            cosine = LRScheduler(
                CosineAnnealingLR, T_max=self.solver.max_epochs, last_epoch=-1
            )
            callbacks.append(("rate", cosine))
        return callbacks

    def initialize_criterion(self):
        """The loss is no torch module: an empty one stands for it in checkpoints."""
        self.criterion_ = Module()
        return self

    def initialize_optimizer(self, triggered_directly=None):
        """The optimizer comes from the solver."""
        self.optimizer_ = self.solver.make_optimizer(self.module_, self.horizon)
        return self

    def load_params(self, *args, **kwargs):
        """Load what a callback has saved, onto the device that the network is on."""
        self.device = str(self.module_.V.device)
        try:
            super().load_params(*args, **kwargs)
        finally:
            self.device = None  # as always: others decide where the network is

    @property
    def averages(self):
        """Whether a fit ends with an average of weights.

        It does not where batch normalisation has recorded moments, which are those of
        other weights.
        """
        return self.solver.averages and not self.module_.couples_samples

    @property
    def progress(self):
        """What another net needs to go on from here."""
        return Progress(list(self.history), self.flow_time, self.n_grad_evals)

    def stop(self, reason):
        """End the training after the current epoch, or change why it ended."""
        self.stop_reason = reason

    def ask_to_stop(self):
        """Let a callback end the training, unless it ends anyway."""
        if self.stop_reason is None:
            self.stop(StopReason.CALLBACK)

    def resume(self, progress):
        """Go on where another net has ended: by steps as short as its last ones."""
        self.rows_before = len(progress.history)
        self.evals_before = progress.n_grad_evals
        self.history.extend(progress.history)
        self.monitor.flow_time = progress.flow_time
        if hasattr(self.optimizer_, "resume"):
            self.optimizer_.resume(progress.flow_time or 0.0, progress.n_grad_evals)
        elif progress.history:
            for group in self.optimizer_.param_groups:
                group["lr"] *= progress.history[0]["depth"] / self.module_.depth

    @property
    def flow_time(self):
        """Flow time of the weights, None for the mini-batch solvers."""
        return self.monitor.flow_time

    @property
    def n_grad_evals(self):
        """Number of gradients computed: for the flow's steps, or of mini-batches."""
        if hasattr(self.optimizer_, "n_grad_evals"):
            return self.optimizer_.n_grad_evals
        rows = self.history[self.rows_before :]
        self.evals_before += sum(r.get("train_batch_count", 0) for r in rows)
        self.rows_before += len(rows)
        return self.evals_before

    @property
    def is_cut_short(self):
        """Whether the last epoch was to come later: held-out samples were to say when.

        Where the steps shrink to zero over all epochs, the last one is the end.
        """
        return self.monitor.early_stopping and self.solver.has_constant_rate

    @property
    def has_chosen_flow_time(self):
        """Whether a validation loss has told how far the flow is to be followed."""
        is_conclusive = self.stop_reason is not None and self.stop_reason.is_conclusive
        return bool(is_conclusive and self.monitor.early_stopping and self.flow_time)

    def curve(self, name, having="role", role=None):
        """Return a column of the history as a list of floats, None where it is empty.

        Rows are read once: of a stream, a part costs the same however many there were.

        Parameters
        ----------
        name : str
            The column.
        having : str, default="role"
            Only rows that have this column.
        role : {"fit", "choose"}, default=None
            Only rows of this role.
        """
        n_read, values = self.curves.get((name, having, role), (0, []))
        rows = self.history[n_read:]
        values += [
            float(row[name])
            for row in rows
            if name in row and having in row and role in (None, row.get("role"))
        ]
        self.curves[name, having, role] = n_read + len(rows), values
        return list(values) or None

    def get_split_datasets(self, X, y=None, **fit_params):
        """X is already the pair of training and validation samples."""
        return X

    def get_iterator(self, dataset, training=False):
        """Batches of slices; validation samples are one batch."""
        batch_size = self.solver.rows_of_a_batch(len(dataset)) if training else None
        return SliceLoader(dataset, batch_size, self.generator)

    def infer(self, x, **fit_params):
        """Output of the network, without the sample weights."""
        return self.module_(x["X"])

    def predict(self, X):
        """Predictions as skorch's scoring callbacks want them."""
        outputs = torch.cat(list(self.forward_iter(X)))
        return self.loss.decide(outputs).cpu().numpy()

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Weighted mean of the loss, without the penalties."""
        losses = self.loss.per_sample(y_pred, y_true)
        return (X["weight"] * losses).sum() / X["weight"].sum()

    def validation_step(self, batch, **fit_params):
        """skorch's, and the loss of every sample and the score."""
        with self.average.shown() if self.average else nullcontext():
            step = super().validation_step(batch, **fit_params)
        X, y = batch
        self.valid_weight = X["weight"]
        self.valid_losses = self.loss.per_sample(step["y_pred"], y)
        score = self.loss.score(step["y_pred"], y, self.valid_weight)
        self.history.record("valid_score", score)
        return step

    def train_step(self, batch, **fit_params):
        """One step of the optimizer; a flow's loss is the one where the step ends."""
        outputs = []

        def closure():
            current_scratch().leave_gradients(self.module_.V, self.module_.W)
            self.module_.zero_grad()
            outputs[:], objective = self._accumulate_gradients(batch)
            if self.solver.multiplies_gradients:
                self._multiply_gradients_by_rates()
            self.notify(
                "on_grad_computed",
                named_parameters=list(self.module_.named_parameters()),
                batch=batch,
                training=True,
            )
            return objective

        self._set_training(True)
        loss = self.optimizer_.step(closure)
        if self.average:
            self.average.update()
        return {"loss": loss, "y_pred": torch.cat(outputs)}

    def _accumulate_gradients(self, batch):
        """Compute the gradient of the objective in chunks that bound the memory."""
        X, y = batch
        inputs = X["X"]
        if self.augmentation is not None:
            inputs = self.augmentation(inputs, self.generator)
        outputs, total = [], X["weight"].new_zeros(())
        for x, share, y_part in self._chunks(inputs, X["weight"] / len(y), y):
            output, part = add_gradients(self.module_, self.loss, x, y_part, share)
            outputs.append(output)
            total += part
        if self.alpha or self.smoothness_penalty:
            extra = penalty(self.module_, self.alpha, self.smoothness_penalty)
            if extra.requires_grad:  # a single layer has no steps in depth to penalise
                extra.backward()
            total += extra.detach()
        return outputs, total

    def _multiply_gradients_by_rates(self):
        """Give the gradients the flow's rates, for optimizers that know of none."""
        for group in self.module_.parameter_groups():
            for p in group["params"]:
                if p.grad is not None:  # as of one that is frozen
                    p.grad.mul_(group["lr"])

    def weights(self, out=None):
        """Copy the weights reached, or their running average where there is one.

        ``out`` is an earlier copy that is not needed any more: its memory is used.
        """
        weights = self.average.weights if self.average else self.module_.state_dict()
        if out is None or any(out[n].shape != p.shape for n, p in weights.items()):
            return {name: p.detach().clone() for name, p in weights.items()}
        for name, p in weights.items():
            out[name].copy_(p.detach())
        return out

    @torch.no_grad()
    def losses(self, samples):
        """Compute the loss of every sample."""
        self._set_training(False)
        parts = self._chunks(samples.X, samples.y)
        return torch.cat([self.loss.per_sample(self.module_(x), y) for x, y in parts])

    @torch.no_grad()
    def objective(self, samples):
        """Compute the objective, penalties included, on all samples."""
        self._set_training(False)
        total = penalty(self.module_, self.alpha, self.smoothness_penalty)
        for x, weight, y in self._chunks(samples.X, samples.weight, samples.y):
            losses = self.loss.per_sample(self.module_(x), y)
            total = total + (weight * losses).sum() / len(samples)
        return float(total)

    def loss_of_zero(self, samples):
        """Compute the loss of a network whose output is zero."""
        X, y = samples.batch()
        output = X["X"].new_zeros(len(y), len(self.module_.head))
        return self.get_loss(output, y, X=X).item()

    def _chunks(self, *tensors):
        """Slice tensors so that the stored states fit into the memory for them.

        A training batch that is normalised is one: its moments are its own.
        """
        module = self.module_
        if module.couples_samples:
            size = len(tensors[0]) if module.training else IMAGE_ROWS
            return zip(*(tensor.split(size) for tensor in tensors), strict=True)
        rebuilds = module.backward == "rebuilt" and module.imitated_depth is None
        n_layers = 1 if rebuilds else module.depth
        stored = n_layers * (module.state_dim + 2 * module.width)
        size = max(
            1, _state_bytes(module.V.device) // (stored * module.V.element_size())
        )
        size = min(size, rows_at_once(module.V))
        return zip(*(tensor.split(size) for tensor in tensors), strict=True)

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Run skorch's loop; remember why it ended, and forget the data."""
        self.stop(None)
        self.valid_losses = self.valid_weight = None
        try:
            if self.averages:
                self.average = RunningAverage(self.module_)
            super().fit_loop(X, y, epochs=epochs, **fit_params)
        except StopTraining:
            pass
        except KeyboardInterrupt as interrupt:
            by_callback = _from_skorch(interrupt)
            self.stop(StopReason.CALLBACK if by_callback else StopReason.INTERRUPTED)
        self.stop(self.stop_reason or StopReason.MAX_EPOCHS)
        self.valid_losses = self.valid_weight = None
        return self

    def notify(self, method_name, **cb_kwargs):
        """Stop after an epoch that all callbacks have seen, as for evaluation."""
        if method_name == "on_epoch_end":
            self._set_training(False)
        super().notify(method_name, **cb_kwargs)
        if method_name == "on_epoch_end" and self.stop_reason:
            raise StopTraining

    @contextmanager
    def observed_by(self, callback):
        """Show the training to one callback more, if it is one, within the context."""
        if callback is None:
            yield
            return
        self.callbacks_.append((type(callback).__name__, callback))
        try:
            yield
        finally:
            self.callbacks_.pop()


def _state_bytes(device):
    """Return how many bytes the states of all layers may take on a device."""
    if device.type != "cuda":
        return MAX_STATE_BYTES
    return int(SHARE_OF_A_GPU * torch.cuda.get_device_properties(device).total_memory)


def _from_skorch(interrupt):
    """Tell whether one of skorch's callbacks raised it, as its EarlyStopping does."""
    traceback = interrupt.__traceback__
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    name = traceback.tb_frame.f_globals.get("__name__", "")
    return name.startswith("skorch.callbacks")
