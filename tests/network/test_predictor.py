"""A network between a user's table and a user's predictions."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from odenet import NeuralODE, ResidualNetwork
from odenet._network.model_axis import join_networks
from odenet._network.predictor import Predictor
from odenet._utils.monotonicity import Monotonicity
from tests.helpers import draw_all


class Inputs:
    """Tables that are lists of rows, doubled; at most three rows at once."""

    rows_at_once = 3

    def read(self, X):
        return np.asarray(X, dtype=float)

    def __call__(self, X):
        return 2 * X


TARGETS = SimpleNamespace(decode=lambda outputs: outputs.ravel() + 1)


def make(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    network = ResidualNetwork(2, 1, depth=4, width=8, generator=generator, dtype=dtype)
    return Predictor(network, Inputs(), TARGETS)


def expected(predictor, X):
    network = ResidualNetwork.from_weights(
        {n: Z.double().numpy() for n, Z in predictor.network.state_dict().items()},
        **predictor.network.settings(),
    )
    with torch.no_grad():
        return network(2 * torch.tensor(X)).numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_are_those_of_float64_row_by_row(dtype, rng):
    """Up to rounding: layers of float32 are evaluated in float32."""
    predictor, X = make(dtype), rng.normal(size=(7, 2))
    draw_all(predictor.network)
    outputs = predictor.outputs(X.tolist())
    assert outputs.dtype == np.float64
    exact = expected(predictor, X)
    np.testing.assert_allclose(
        outputs, exact, rtol=1e-12 if dtype.itemsize > 4 else 1e-5
    )
    is_exact = abs(outputs - exact).max() < 1e-12
    assert is_exact == (dtype == torch.float64)
    assert predictor.network.V.dtype == dtype
    np.testing.assert_array_equal(predictor.predict(X), outputs.ravel() + 1)


def test_rows_whose_states_are_large_are_evaluated_in_float64(rng):
    """Each for itself, also beyond the range of float32."""
    predictor, X = make(), rng.normal(size=(7, 2))
    draw_all(predictor.network)
    X[[1, 4]] *= [[1e3], [1e60]]
    errors = abs(predictor.outputs(X) / expected(predictor, X) - 1).ravel()
    assert errors[[1, 4]].max() < 1e-12
    assert 1e-12 < np.delete(errors, [1, 4]).max() < 1e-5


def test_a_row_of_one_member_is_evaluated_in_float64_for_all(rng):
    """Its last state is large, as the first one is not."""
    networks = [draw_all(make().network, seed) for seed in (0, 1)]
    X = rng.normal(size=(7, 2))
    networks[1].V.data *= 1e6
    predictor = make().around(join_networks(networks))
    parts = [expected(make().around(network), X) for network in networks]
    np.testing.assert_allclose(predictor.forward(X), parts, rtol=1e-10)


def test_float64_takes_over_where_float32_depends_on_the_batch(rng, monkeypatch):
    predictor, X = make(), rng.normal(size=(7, 2))
    draw_all(predictor.network)
    monkeypatch.setattr("odenet._network.predictor.is_steady", lambda *shape: False)
    exact = expected(predictor, X)
    np.testing.assert_allclose(predictor.outputs(X), exact, rtol=1e-12)


def test_monotone_networks_predict_in_float64(rng):
    """Rounding errors of float32 would make steps back that a user can see."""
    predictor, X = make(), rng.normal(size=(7, 2))
    units = (1,) * predictor.network.width
    states = (1,) * predictor.network.state_dim
    draw_all(predictor.network).confine(Monotonicity((1, 1), states, units))
    exact = expected(predictor, X)
    np.testing.assert_allclose(predictor.outputs(X), exact, rtol=1e-12)


def test_rows_are_evaluated_in_chunks(rng, monkeypatch):
    predictor, sizes = make(torch.float64), []
    forward = ResidualNetwork.forward

    def spy(self, x):
        sizes.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(ResidualNetwork, "forward", spy)
    assert predictor.outputs(rng.normal(size=(7, 2))).shape == (7, 1)
    assert sizes == [3, 3, 1]


def test_states_have_the_samples_on_another_axis(rng):
    predictor, X = make(), rng.normal(size=(7, 2))
    states = predictor.evaluate(X, "hidden_states", axis=1)
    assert states.shape == (5, 7, predictor.network.state_dim)
    np.testing.assert_array_equal(states[-1], predictor.evaluate(X, "last_state"))


def test_a_network_of_float64_is_not_copied():
    double, single = make(torch.float64), make()
    assert double.network_for_evaluation() is double.network
    assert single.network_for_evaluation() is not single.network
    assert single.network_for_evaluation().V.dtype == torch.float64


def test_around_another_network_everything_else_is_the_same():
    predictor, other = make(), make(torch.float64).network
    around = predictor.around(other)
    assert around.network is other
    assert around.inputs is predictor.inputs
    assert around.targets is predictor.targets
    assert predictor.network is not other


def test_an_ode_is_told_its_evaluations():
    predictor = make()
    ode = NeuralODE(predictor.network, rtol=1e-3)
    predictor.around(ode).outputs([[0.5, 1.0]])
    assert ode.n_evals_ > 0
