"""What a loss owes, shown by one that the package does not have."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.base import clone

from odenet import ResidualNetwork, ResODERegressor
from odenet._losses.base import Loss, check_positive, kept_tensor
from odenet._losses.registry import LOSSES
from odenet._losses.squared_error import SquaredError
from odenet._tables.samples import Samples
from odenet._training.net import TrainingNet
from odenet.solvers import AdamW, Flow
from tests.helpers import serve_onnx

SE = SquaredError()


@dataclass(frozen=True)
class LogCosh(Loss):
    """log cosh of the residual: a smooth absolute error."""

    name = "log cosh"

    def per_sample(self, output, y):
        return torch.log(torch.cosh(output - y)).sum(dim=1)

    def gradient(self, output, y):
        return torch.tanh(output - y)

    def score(self, output, y, weight):
        errors = (output - y).abs().mean(dim=1)
        return -((weight * errors).sum() / weight.sum()).item()


def make_net(solver, y, X, horizon):
    generator = torch.Generator().manual_seed(0)
    network = ResidualNetwork(2, 1, depth=4, width=8, generator=generator)
    net = TrainingNet(network, LogCosh(), solver, horizon=horizon, generator=generator)
    samples = Samples(X, y, torch.ones(len(y)))
    return net.initialize(), samples


@pytest.mark.parametrize("solver", [Flow(), AdamW(batch_size=20, max_epochs=100)])
def test_a_loss_of_ones_own_is_learnt_and_recorded(solver):
    X = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    y = torch.sin(2 * X[:, :1]) + X[:, 1:]
    # the flow rests until t = 50 where the best linear function is, near a saddle
    net, samples = make_net(solver, y, X, horizon=200.0)
    before = net.objective(samples)
    net.partial_fit((samples, samples))
    assert net.objective(samples) < 0.05 * before
    residual = (net.module_(X) - y).detach().numpy()
    expected = np.log(np.cosh(residual)).mean()
    assert net.objective(samples) == pytest.approx(expected, rel=1e-3)
    scores = net.history[:, "valid_score"]
    assert scores[-1] > scores[0]


def test_outliers_pull_less_than_by_the_square():
    """The stationary constant of log cosh is near the median, not the mean."""
    X, y = torch.zeros(9, 2), torch.tensor([[0.0]] * 8 + [[30.0]])
    net, samples = make_net(Flow(), y, X, horizon=100.0)
    net.partial_fit((samples, None))
    # 8 tanh(c) = tanh(30 - c) = 1
    assert net.module_(X).mean().item() == pytest.approx(np.arctanh(1 / 8), rel=1e-2)


def test_whatever_is_owed_is_missed():
    output = y = torch.ones(3, 1)
    for method in ("per_sample", "gradient", "curvature", "of_predictions"):
        with pytest.raises(NotImplementedError):
            getattr(Loss(), method)(output, y)


class Squares(Loss):
    """The least that a loss of one's own can be."""

    def per_sample(self, output, y):
        return (output - y).square().sum(dim=1)


class Counts(Squares):
    """Squares of counts, whose predictions are exponentials."""

    link = "log"

    def per_sample(self, output, y):
        return super().per_sample(output.exp(), y)


def test_all_else_has_a_default(rng):
    output, y = torch.tensor(rng.normal(size=(2, 20, 2)))
    for method in ("per_sample", "gradient", "curvature", "score"):
        rest = [torch.ones(20)] if method == "score" else []
        pair = [getattr(loss, method)(output, y, *rest) for loss in (Squares(), SE)]
        assert pair[0] == pytest.approx(pair[1])
    torch.testing.assert_close(Counts().decide(output), output.exp())
    of_predictions = Counts().of_predictions(output.exp(), y)
    torch.testing.assert_close(of_predictions, Counts().per_sample(output, y))
    with pytest.raises(ValueError, match=r"not be negative for .*Counts.*, got -2\.0"):
        Counts().check(np.array([[1.0], [-2.0]]))


def test_a_loss_with_its_own_decision_needs_its_own_nodes():
    class Rounded(Squares):
        def decide(self, output):
            return output.round()

    assert Squares().to_onnx(None, "u") == "u"
    with pytest.raises(ValueError, match="has no form for ONNX: its `decide` is its"):
        Rounded().to_onnx(None, "u")


def test_kept_tensors_are_the_same_object():
    one, other = (kept_tensor((1.0, 2.0), torch.float32, "cpu") for _ in range(2))
    assert one is other
    assert one.tolist() == [1, 2]


def test_what_is_no_positive_number_is_refused():
    check_positive("delta", 1e-3)
    for value in (0, -1, np.inf, np.nan, "1", None, True):
        with pytest.raises(ValueError, match="`delta` must be a positive number, got"):
            check_positive("delta", value)


def test_a_loss_of_ones_own_is_fitted_saved_and_exported(monkeypatch, tmp_path):
    """Where all inputs are the same, log cosh leads near the median of the targets."""
    X, y = np.zeros((60, 2)), np.where(np.arange(60) < 50, 0.0, 30.0)
    settings = {"early_stopping": False, "standardize": False, "random_state": 0}
    model = ResODERegressor(
        4, width=8, loss=LogCosh(), flow_time=100.0, **settings
    ).fit(X, y)
    # tanh(c) * 50 = 10 at the constant c of the least loss: 30 is far beyond 1
    np.testing.assert_allclose(model.predict(X), np.arctanh(0.2), rtol=0.01)
    with pytest.raises(ValueError, match=r"`loss` cannot be saved: .* odenet\.losses"):
        model.save(tmp_path / "model.safetensors")
    monkeypatch.setitem(LOSSES, "log_cosh", LogCosh)
    by_name = clone(model).set_params(loss="log_cosh").fit(X, y)
    assert np.array_equal(by_name.predict(X), model.predict(X))
    model.save(tmp_path / "model.safetensors")
    twin = ResODERegressor.load(tmp_path / "model.safetensors")
    assert np.array_equal(twin.predict(X), model.predict(X))
    served = serve_onnx(model, X, tmp_path / "model.onnx")
    np.testing.assert_allclose(served, model.predict(X), rtol=1e-5)
