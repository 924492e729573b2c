"""skorch's callbacks: each does what skorch says, or is refused by name."""

from pathlib import Path

import numpy as np
import pytest
import skorch.callbacks
import torch
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freezer,
    GradientNormClipping,
    Initializer,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
    TensorBoard,
    TrainEndCheckpoint,
    Unfreezer,
    WarmRestartLR,
)

from odenet import ResODERegressor
from odenet._training.callbacks.allowed import check_callbacks
from odenet.solvers import SGD, AdamW, Flow, GradientDescent

SOLVERS = [
    Flow(),
    GradientDescent(0.1),
    AdamW(max_epochs=6, batch_size=20),
    SGD(max_epochs=6, batch_size=20),
]
PAGE = Path(__file__).parents[3] / "docs" / "callbacks.md"


class Watch(Callback):
    """Keeps the embedding of every epoch, and the largest gradient of the training."""

    def on_train_begin(self, net, **kwargs):
        self.embeddings, self.largest = [net.module_.embedding.detach().clone()], 0.0

    def on_grad_computed(self, net, named_parameters, **kwargs):
        norms = [p.grad.norm() for _, p in named_parameters if p.grad is not None]
        self.largest = max(self.largest, torch.stack(norms).norm().item())

    def on_epoch_end(self, net, **kwargs):
        self.embeddings.append(net.module_.embedding.detach().clone())

    def moved(self, epochs=slice(None)):
        seen = self.embeddings[epochs]
        return max((later - seen[0]).abs().max().item() for later in seen)


class Writer:
    """Stands in for the one that TensorBoard's writes to."""

    def __init__(self):
        self.tags = []

    def add_scalar(self, tag, scalar_value, global_step):
        self.tags.append(tag)

    def close(self):
        pass


def fit(solver, *callbacks, **settings):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    settings = {"early_stopping": False, "depth_schedule": None, **settings}
    if solver.follows_flow:
        settings["flow_time"] = 2.0
    model = ResODERegressor(4, width=8, random_state=0, solver=solver, **settings)
    return model.set_params(callbacks=list(callbacks)).fit(X, X[:, 0] + X[:, 1] ** 2)


def test_scores_are_recorded_and_printed(capsys):
    for solver in SOLVERS:
        writer = Writer()
        model = fit(
            solver,
            EpochScoring("r2", name="r2", on_train=True),
            BatchScoring("neg_mean_squared_error", name="mse", on_train=True),
            PrintLog(),
            ProgressBar(),
            TensorBoard(writer),
        )
        scores = model.history_["r2"]
        assert scores.iloc[-1] > scores.iloc[0]
        assert (model.history_["mse"] < 0).all()
        assert "train_loss" in capsys.readouterr().out
        assert any("loss" in tag for tag in writer.tags)


def test_a_callback_can_end_the_training():
    for solver in SOLVERS:
        stopping = EarlyStopping(
            "train_loss", patience=2, threshold=0.9, load_best=True
        )
        model = fit(solver, stopping)
        assert model.stop_reason_ == "callback"
        assert model.n_iter_ < 6


def test_checkpoints_are_written_and_loaded(tmp_path):
    for solver in SOLVERS:
        best = Checkpoint(dirname=tmp_path, monitor="train_loss_best", load_best=True)
        end = TrainEndCheckpoint(dirname=tmp_path / "end")
        fit(solver, best, end)
        assert (tmp_path / "params.pt").exists()
        saved = torch.load(tmp_path / "end" / "train_end_params.pt")
        watch = Watch()
        fit(solver, end, LoadInitState(end), watch)
        assert torch.equal(watch.embeddings[0], saved["embedding"])


def test_frozen_parameters_keep_their_values():
    for solver in SOLVERS:
        frozen, thawed, free = Watch(), Watch(), Watch()
        fit(solver, Freezer("embedding"), frozen)
        fit(solver, Freezer("embedding"), Unfreezer("embedding", at=3), thawed)
        fit(solver, free)
        assert frozen.moved() == 0.0 < free.moved()
        assert thawed.moved(slice(0, 3)) == 0.0 < thawed.moved()


def test_parameters_are_initialised_anew():
    for solver in SOLVERS:
        watch = Watch()
        zeros = Initializer("embedding", fn=torch.nn.init.zeros_, at=1)
        fit(solver, zeros, watch)
        assert watch.embeddings[1].norm() < watch.embeddings[0].norm()


def test_rates_and_norms_are_for_mini_batches():
    clips, steps = GradientNormClipping(1e-3), {"step_size": 1, "gamma": 0.01}
    for solver in SOLVERS[:2]:
        for callback in (LRScheduler("StepLR"), LRScheduler(WarmRestartLR), clips):
            name = type(callback).__name__
            with pytest.raises(ValueError, match=f"must not hold {name}: "):
                fit(solver, callback)
    for solver in SOLVERS[2:]:
        slow, plain, clipped = Watch(), Watch(), Watch()
        fit(solver, LRScheduler("StepLR", **steps), slow)
        fit(solver, plain)
        fit(solver, clips, clipped)
        assert slow.moved() < 0.8 * plain.moved()
        assert clipped.largest <= 1.01e-3 < plain.largest


def test_others_than_those_of_skorch_are_refused():
    fine = [EpochScoring, ("scores", PassthroughScoring("train_loss")), PrintLog()]
    check_callbacks(fine, Flow())
    for wrong in (lambda net: None, "EarlyStopping", object(), ("a", int)):
        with pytest.raises(
            ValueError, match="`callbacks` must hold callbacks of skorc"
        ):
            fit(Flow(), wrong)


def test_what_can_do_nothing_is_refused():
    for solver in SOLVERS:
        with pytest.raises(
            ValueError, match="must not hold InputShapeSetter: the network"
        ):
            fit(solver, InputShapeSetter())


def test_the_page_tells_of_all_of_them():
    page = PAGE.read_text()
    names = set(skorch.callbacks.__all__) - {"Callback"}
    assert {name for name in names if f"`{name}`" not in page} == set()
