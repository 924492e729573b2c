"""The skorch net that trains a network: one path for all solvers.

An epoch is a pass over the batches: for the full-batch solvers, one step of the flow.
"""

from contextlib import contextmanager, nullcontext
from functools import partial
from math import inf

import torch
from skorch import NeuralNet
from skorch.callbacks import EpochTimer, LRScheduler, PassthroughScoring
from torch.nn import Module
from torch.optim.lr_scheduler import CosineAnnealingLR

from odenet._distributed.group import ALONE
from odenet._network.fast_layers import rows_at_once
from odenet._network.gradients import MAX_GRAPHS, add_gradients
from odenet._network.scratch import current_scratch
from odenet._optim.averaging import RunningAverage
from odenet._stored.samples import StoredSamples
from odenet._training.batches import SliceLoader, StoredLoader
from odenet._training.monitor import Monitor
from odenet._training.penalties import penalty
from odenet._training.plan import Progress
from odenet._training.sample_space import SampleSpace
from odenet._training.scores import score_of
from odenet._training.stop_reason import StopReason

# The most memory for the states of all layers at once. On the CPU it is half a
# gigabyte, a choice. On a GPU it is a share of its memory, such that all captured
# graphs that are kept take up half of it. More samples are taken in chunks, whose
# gradients are added.
MAX_STATE_BYTES = 2**29
SHARE_OF_A_GPU = 1 / (2 * MAX_GRAPHS)
# The most batches of an epoch that the history has rows of, a kilobyte each: a choice.
# Trainings of up to 256,000 rows have fewer.
MOST_BATCHES = 1000
IMAGE_ROWS = 1024  # images at once where nothing is trained, which bounds the memory

NO_MODEL_IS_LEFT = (
    "A fit by several processes was interrupted: no model is left of it. With "
    "`checkpoint` the same fit goes on from its last record."
)


class StopTraining(KeyboardInterrupt):
    """Ends skorch's loop, which takes a KeyboardInterrupt as the sign to stop."""


class TrainingNet(NeuralNet):
    """A skorch net around a residual network, a loss and a solver.

    ``partial_fit`` takes the pair (training samples, validation samples or None). Every
    row of the history has a role: "fit", or "choose" if that training only chose a flow
    time.

    Parameters
    ----------
    module : nn.Module
        The network.
    loss : Loss
    solver : Solver
    horizon : float, default=inf
        Flow time at which a flow ends. A schedule of depths may lower it.
    alpha, smoothness_penalty : float, default=0.0
        Factors of the penalties on the weights.
    generator : torch.Generator, default=None
        Draws the order of mini-batches and the augmentation of images.
    monitor : Monitor, default=None
        Decides when training ends, and which weights are kept.
    metric : callable, default=None
        ``metric(network)`` is the score by which held-out samples judge a training, in
        place of their loss.
    augmentation : callable, default=None
        ``augmentation(X, generator)`` varies the inputs of a batch.
    callbacks : list of skorch callbacks, default=None
    recorder : Recorder, default=None
        Keeps the state of the training, and lets it go on from what was kept.
    group : Alone, default=ALONE
        The processes that train the network together, each on samples of its own. All
        take the same steps, since all that they learn of samples are sums over all.
    max_epochs : int, default=None
        Passes over every part of a stream of samples. None is the solver's
        ``max_epochs``, over all samples.

    Attributes
    ----------
    stop_reason : StopReason or None
        Why the training ends after the current epoch, or why it has ended.
    """

    samples_axis = 0  # of inputs, weights and targets

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
        metric=None,
        augmentation=None,
        callbacks=None,
        recorder=None,
        group=ALONE,
        max_epochs=None,
    ):
        self.loss = loss
        self.solver = solver
        self.horizon = horizon
        self.alpha = alpha
        self.smoothness_penalty = smoothness_penalty
        self.generator = generator
        self.monitor = monitor or Monitor()
        self.metric = metric
        self.augmentation = augmentation
        self.recorder = recorder
        self.group = group
        self.n_in_step = 0  # samples of the last gradient, on all processes
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
        """The loss is no torch module: an empty one stands for it in skorch's files."""
        self.criterion_ = Module()
        return self

    def initialize_optimizer(self, triggered_directly=None):
        """Let the solver make the optimizer."""
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
        """Whether a fit ends with a running average of the weights.

        With batch normalisation it does not: the moments that it has recorded belong
        to the weights themselves, not to their average.
        """
        return self.solver.averages and not self.module_.couples_samples

    @property
    def progress(self):
        """How far the training has come, for another net that goes on from here."""
        return Progress(list(self.history), self.flow_time, self.n_grad_evals)

    def stop(self, reason):
        """End the training after the current epoch, or change why it ended."""
        self.stop_reason = reason

    def ask_to_stop(self):
        """Let a callback end the training, unless it ends anyway."""
        if self.stop_reason is None:
            self.stop(StopReason.CALLBACK)

    def resume(self, progress):
        """Go on where another net has ended.

        Steps on mini-batches go on as short as they became when layers were added.
        """
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
        """Number of gradient evaluations; every mini-batch takes one."""
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
        """Whether a validation loss has chosen how far the flow is to be followed."""
        is_conclusive = self.stop_reason is not None and self.stop_reason.is_conclusive
        return bool(is_conclusive and self.monitor.early_stopping and self.flow_time)

    def curve(self, name, having="role", role=None):
        """Return a column of the history as a list of floats, None where it is empty.

        Rows are read once: of a stream, a part costs the same however many there were.

        Parameters
        ----------
        name : str
            The name of the column.
        having : str, default="role"
            Rows without a column of this name are left out.
        role : {"fit", "choose"}, default=None
            Rows of another role are left out; None keeps all.
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
        """Return X, which is the pair of training and validation samples already."""
        return X

    def get_iterator(self, dataset, training=False):
        """Return an iterator over mini-batches, or over all samples as one batch."""
        if not training or self.solver.follows_flow:
            return SliceLoader(dataset, is_training=training)
        if isinstance(dataset, StoredSamples):
            return StoredLoader(dataset, self.solver.rows_of_a_batch, self.generator)
        return SliceLoader(
            dataset,
            self.solver.rows_of_a_batch,
            self.generator,
            is_part=self.trains_on_parts,
        )

    def infer(self, x, **fit_params):
        """Compute the outputs of the network for a batch."""
        return self.module_(x["X"])

    def predict(self, X):
        """Return predictions as an array, for the scoring callbacks of skorch."""
        outputs = torch.cat(list(self.forward_iter(X)))
        return self.loss.decide(outputs).cpu().numpy()

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Compute the weighted mean of the validation loss, without the penalties."""
        losses = self.loss.for_validation().per_sample(y_pred, y_true)
        total = self.group.sum((X["weight"] * losses).sum())
        return total / self.group.sum(X["weight"].sum())

    def validation_step(self, batch, **fit_params):
        """Evaluate the validation samples, and record their losses and their score."""
        with self.average.shown() if self.average else nullcontext():
            step = super().validation_step(batch, **fit_params)
            score = None if self.metric is None else self.metric(self.module_)
        X, y = batch
        self.valid_weight = X["weight"]
        self.valid_losses = self.loss.for_validation().per_sample(step["y_pred"], y)
        if score is None:
            parts = step["y_pred"], y, self.valid_weight
            score = score_of(self.loss, *parts, self.group)
        self.history.record("valid_score", score)
        return step

    def train_step(self, batch, **fit_params):
        """Take one step of the optimizer, and return its loss and the outputs.

        The loss of a flow is that where the step ends; mini-batches have that of the
        weights before the step.
        """
        outputs = []

        def closure():
            self.clear_gradients()
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
        closure.sample_space = partial(SampleSpace, self, batch)
        loss = self.optimizer_.step(closure)
        if not self.solver.follows_flow:
            self.module_.project_()
        if self.average:
            self.average.update()
        outputs = torch.cat(outputs, dim=self.samples_axis) if outputs else None
        return {"loss": loss, "y_pred": outputs}

    def clear_gradients(self):
        """Forget the gradients of the parameters, whose memory may be used again."""
        current_scratch().leave_gradients(self.module_.V, self.module_.W)
        self.module_.zero_grad()

    def _accumulate_gradients(self, batch):
        """Compute the gradient of the objective in chunks that bound the memory."""
        X, y = batch
        inputs = X["X"]
        if self.augmentation is not None:
            inputs = self.augmentation(inputs, self.generator)
        outputs, total = [], X["weight"].new_zeros(())
        n, keeps_outputs = len(y), torch.is_tensor(y)
        for x, weight, y_part in self.chunks(inputs, X["weight"], y):
            output, part = add_gradients(self.module_, self.loss, x, y_part, weight / n)
            if keeps_outputs:  # those of samples in a file are too many
                outputs.append(output)
            total += part
        total = self._add_up(total, len(y))
        if self.alpha or self.smoothness_penalty:
            extra = penalty(self.module_, self.alpha, self.smoothness_penalty)
            if extra.requires_grad:  # a single layer has no steps in depth to penalise
                extra.backward()
            total += extra.detach()
        return outputs, total

    def _add_up(self, total, n):
        """Add up gradients, loss and number of samples over the processes, at once."""
        if self.group.size == 1:
            return total
        params = [p for p in self.module_.parameters() if p.requires_grad]
        for p in params:
            if p.grad is None:  # none of the batch is here
                p.grad = torch.zeros_like(p)
        parts = [total.reshape(1), total.new_tensor([n])]
        found = self.group.sum(torch.cat(parts + [p.grad.flatten() for p in params]))
        sizes = [p.numel() for p in params]
        total, self.n_in_step, *gradients = found.split([1, 1, *sizes])
        for p, gradient in zip(params, gradients, strict=True):
            p.grad.copy_(gradient.view_as(p))
        return total[0]

    def _multiply_gradients_by_rates(self):
        """Multiply gradients by the rates of the flow, which the optimizer ignores."""
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
        """Compute the validation loss of every sample."""
        self._set_training(False)
        loss, parts = self.loss.for_validation(), self.chunks(samples.rows, samples.y)
        losses = [loss.per_sample(self.module_(x), y) for x, y in parts]
        return torch.cat(losses, dim=self.samples_axis)

    @torch.no_grad()
    def objective(self, samples):
        """Compute the objective, penalties included, on all samples."""
        self._set_training(False)
        total = samples.weight.new_zeros(())
        for x, weight, y in self.chunks(samples.rows, samples.weight, samples.y):
            losses = self.loss.per_sample(self.module_(x), y)
            total = total + (weight * losses).sum() / len(samples)
        penalties = penalty(self.module_, self.alpha, self.smoothness_penalty)
        return float(penalties + self.group.sum(total))

    def loss_of_zero(self, samples):
        """Compute the loss of a network whose output is zero."""
        loss, n_outputs = self.loss.for_validation(), len(self.module_.head)
        total = mass = samples.weight.new_zeros(())
        for weight, y in self.chunks(samples.weight, samples.y):
            losses = loss.per_sample(weight.new_zeros(len(y), n_outputs), y)
            total, mass = total + (weight * losses).sum(), mass + weight.sum()
        return float(self.group.sum(total) / self.group.sum(mass))

    def chunks(self, *tensors):
        """Yield slices of tensors whose stored states fit into the memory for them.

        With batch normalisation a training batch is not sliced: its moments are taken
        over the whole batch.
        """
        module, axis = self.module_, self.samples_axis
        if module.couples_samples:
            size = len(tensors[0]) if module.training else IMAGE_ROWS
            return zip(*(tensor.split(size) for tensor in tensors), strict=True)
        rebuilds = module.backward == "rebuilt" and module.imitated_depth is None
        n_layers = 1 if rebuilds else module.depth
        stored = n_layers * module.n_models * (module.state_dim + 2 * module.width)
        size = max(
            1, _state_bytes(module.V.device) // (stored * module.V.element_size())
        )
        size = min(size, rows_at_once(module.V))
        return zip(*(tensor.split(size, axis) for tensor in tensors), strict=True)

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Run skorch's loop, record why it ended, and let go of the data."""
        self.stop(None)
        self.valid_losses = self.valid_weight = None
        n_before = len(self.history)
        try:
            if self.averages:
                self.average = RunningAverage(self.module_)
            if self.recorder is not None:
                epochs = self.recorder.resume(self, X[1])
            super().fit_loop(X, y, epochs=epochs, **fit_params)
        except StopTraining:
            pass
        except FloatingPointError:
            if not any("role" in row for row in self.history[n_before:]):
                raise  # no step has come to a finite end
            self.stop(StopReason.DIVERGED)
        except KeyboardInterrupt as interrupt:
            by_callback = _from_skorch(interrupt)
            if self.group.size > 1:  # the others train on, and wait for this one
                raise RuntimeError(NO_MODEL_IS_LEFT) from interrupt
            self.stop(StopReason.CALLBACK if by_callback else StopReason.INTERRUPTED)
        self.stop(self.stop_reason or StopReason.MAX_EPOCHS)
        self.valid_losses = self.valid_weight = None
        return self

    def notify(self, method_name, **cb_kwargs):
        """Call the callbacks, and stop after an epoch if that was asked for.

        At the end of an epoch they find the network in evaluation mode. It stops only
        when all of them have seen the epoch.
        """
        if method_name == "on_epoch_end":
            self._set_training(False)
        if method_name == "on_batch_end" and self.group.size > 1:
            self._record_size(**cb_kwargs)
        super().notify(method_name, **cb_kwargs)
        if method_name == "on_batch_end" and cb_kwargs["training"]:
            self._sum_up_batches()
        if method_name != "on_epoch_end":
            return
        self.group.check_step(self._course)
        if self.stop_reason:
            raise StopTraining
        if self.recorder is not None:
            self.recorder.see_epoch(self)

    def _record_size(self, *, training, **step):
        """Record how many samples a batch has on all processes, which weighs its loss.

        Held-out samples are a single batch, of any weight.
        """
        if training:
            self.history.record_batch("train_batch_size", int(self.n_in_step))
        else:
            self.history.record_batch("valid_batch_size", 1)

    def _sum_up_batches(self):
        """Let one row stand for all batches of an epoch so far, if they are many.

        It has their mean loss, which is all that is asked of them.
        """
        batches = self.history[-1]["batches"]
        names = {"train_loss", "train_batch_size"}
        if len(batches) < MOST_BATCHES or any(row.keys() != names for row in batches):
            return
        size = sum(row["train_batch_size"] for row in batches)
        loss = sum(row["train_loss"] * row["train_batch_size"] for row in batches)
        batches[:] = [{"train_loss": loss / size, "train_batch_size": size}]

    def _course(self):
        """Tell where a training is: the same text where its numbers are the same."""
        total = sum(float(p.detach().double().sum()) for p in self.module_.parameters())
        return f"epoch {len(self.history)}, weights with the sum {total!r}"

    @contextmanager
    def observed_by(self, callback):
        """Add a callback, unless it is None, for the time of the context."""
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
    """Tell whether an interrupt was raised by a callback of skorch, not by Ctrl-C."""
    traceback = interrupt.__traceback__
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    name = traceback.tb_frame.f_globals.get("__name__", "")
    return name.startswith("skorch.callbacks")
