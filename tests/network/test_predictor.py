"""A network between a user's table and a user's predictions."""

from types import SimpleNamespace

import numpy as np
import torch

from odenet import NeuralODE, ResidualNetwork
from odenet._network.predictor import Predictor


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


def test_outputs_are_those_of_float64_row_by_row(rng):
    predictor, X = make(), rng.normal(size=(7, 2))
    outputs = predictor.outputs(X.tolist())
    assert outputs.dtype == np.float64
    np.testing.assert_allclose(outputs, expected(predictor, X), rtol=1e-12)
    assert predictor.network.V.dtype == torch.float32
    np.testing.assert_array_equal(predictor.predict(X), outputs.ravel() + 1)


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
