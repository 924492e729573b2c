import numpy as np
import pytest
import torch

from odenet import ConvResidualNetwork, ResidualNetwork, tangent_kernel
from odenet._network.activations import ACTIVATIONS
from odenet._optim.explicit_euler import ExplicitEuler
from odenet.schemes import GaussianProcess
from tests.helpers import make_network

N, N_FEATURES, N_OUTPUTS = 5, 3, 2


def drawn_network(depth=4, **settings):
    """Make a network whose V is not zero."""
    scheme = GaussianProcess(length_scale=0.5, draws_V=True)
    settings = {"depth": depth, "state_dim": 7, "init": scheme, **settings}
    return make_network(N_FEATURES, N_OUTPUTS, **settings)


@pytest.fixture
def X(generator):
    return torch.randn(N, N_FEATURES, generator=generator, dtype=torch.float64)


@pytest.fixture
def y(generator):
    return torch.randn(N, N_OUTPUTS, generator=generator, dtype=torch.float64)


def jacobian(network, X):
    """Rows: outputs; columns: parameters times the root of their rates."""
    rows = []
    for output in network(X).flatten():
        network.zero_grad()
        output.backward(retain_graph=True)
        rows.append(
            torch.cat(
                [
                    p.grad.flatten() * group["lr"] ** 0.5
                    for group in network.parameter_groups()
                    for p in group["params"]
                ]
            )
        )
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("depth_scaling", [1.0, 0.5])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_matrix_is_that_of_the_jacobian(activation, depth_scaling, X):
    network = drawn_network(activation=activation, depth_scaling=depth_scaling)
    J = jacobian(network, X)
    kernel = tangent_kernel(network, X)
    np.testing.assert_allclose(kernel.matrix, J @ J.T, rtol=1e-10, atol=1e-12)
    squares = np.linalg.svd(J, compute_uv=False)[::-1] ** 2
    np.testing.assert_allclose(kernel.eigenvalues, squares, rtol=1e-7, atol=1e-12)
    assert kernel.pl_constant == pytest.approx(4 * squares[0] / N, abs=1e-12)
    assert kernel.curvature == pytest.approx(2 * squares[-1] / N)
    assert float(kernel) == kernel.pl_constant


def test_network_stays_as_it_is(X):
    network = drawn_network().float()
    before = {name: p.clone() for name, p in network.state_dict().items()}
    tangent_kernel(network, X)
    for name, p in network.state_dict().items():
        assert p.dtype == torch.float32
        assert torch.equal(p, before[name])


@pytest.mark.parametrize("form", [np.float32, np.ndarray.tolist, torch.tensor])
def test_samples_of_any_form_in_float64(form, X):
    network, X = drawn_network().float(), X.float().double()
    kernel = tangent_kernel(network, form(X.numpy()))
    np.testing.assert_array_equal(kernel.matrix, tangent_kernel(network, X).matrix)
    assert kernel.matrix.dtype == kernel.eigenvalues.dtype == np.float64


def test_kernel_at_the_start_has_a_closed_form(X):
    """V = 0: outputs do not meet, tied layers give the same, A and B give the same."""
    network = ResidualNetwork(
        N_FEATURES, N_OUTPUTS, depth=6, width=4, dtype=torch.float64
    )
    x = np.column_stack([X, np.ones(N)])
    W = network.W[0].detach().numpy()
    u = np.maximum(x @ W[:, : N_FEATURES + 1].T / 4, 0)  # the state_dim is 16
    network.activation = "relu"
    expected = np.kron(u @ u.T / 4 + 2 * x @ x.T, np.eye(N_OUTPUTS))
    np.testing.assert_allclose(
        tangent_kernel(network, X).matrix, expected, rtol=1e-12, atol=1e-14
    )


def follow(network, X, y, step, n_steps):
    """The loss, the kernel and the residual at every point of gradient descent."""
    flow = ExplicitEuler(network.parameter_groups(), learning_rate=step)

    def closure():
        flow.zero_grad()
        loss = (network(X) - y).square().sum(dim=1).mean()
        loss.backward()
        return loss

    for _ in range(n_steps):
        residual = (network(X) - y).detach()
        yield residual.square().sum().item() / N, tangent_kernel(network, X), residual
        flow.step(closure)


@pytest.mark.parametrize("depth", [2, 16])
@pytest.mark.parametrize("activation", ["gelu", "tanh"])
def test_loss_falls_at_the_rate_of_the_kernel(activation, depth, X, y):
    """The flow of any depth has the rate, which is at least the PL constant."""
    network = drawn_network(depth, activation=activation)
    step = 1e-4
    losses, kernels, residuals = zip(*follow(network, X, y, step, 60), strict=True)
    observed = -np.gradient(np.log(losses), step)[1:-1]
    rates = [k.rate(r) for k, r in zip(kernels, residuals, strict=True)][1:-1]
    np.testing.assert_allclose(observed, rates, rtol=0.01)
    constants = [kernel.pl_constant for kernel in kernels]
    assert min(constants) > 0
    assert (observed > constants[1:-1]).all()
    assert losses[-1] <= np.exp(-min(constants) * 59 * step) * losses[0]


@pytest.mark.parametrize(("share", "falls"), [(0.95, True), (1.05, False)])
def test_gradient_descent_is_stable_up_to_two_over_the_curvature(share, falls, X):
    """Near interpolation the curvature is the kernel's."""
    network = drawn_network()
    kernel = tangent_kernel(network, X)
    stiffest = np.linalg.eigh(kernel.matrix)[1][:, -1].reshape(N, N_OUTPUTS)
    y = network(X).detach() + 1e-7 * torch.tensor(stiffest)
    points = follow(network, X, y, share * 2 / kernel.curvature, 20)
    losses = [loss for loss, *_ in points]
    assert (losses[-1] < losses[0]) == falls


def test_rate_between_the_extremes(X, rng):
    kernel = tangent_kernel(drawn_network(), X)
    rate = kernel.rate(rng.normal(size=(N, N_OUTPUTS)))
    assert kernel.pl_constant < rate < 2 * kernel.curvature
    slowest = np.linalg.eigh(kernel.matrix)[1][:, 0].reshape(N, N_OUTPUTS)
    assert kernel.rate(slowest) == pytest.approx(kernel.pl_constant)
    assert kernel.rate(1e-200 * slowest) == pytest.approx(kernel.pl_constant)
    assert kernel.rate(np.zeros((N, N_OUTPUTS))) == 0


def test_repeated_sample_has_no_pl_constant(X):
    kernel = tangent_kernel(drawn_network(), X[[0, 1, 1]])
    assert kernel.pl_constant == pytest.approx(0, abs=1e-12)
    assert kernel.pl_constant >= 0


def test_result_is_frozen_and_short_to_print(X):
    kernel = tangent_kernel(drawn_network(), X)
    with pytest.raises(AttributeError):
        kernel.pl_constant = 0
    assert len(repr(kernel)) < 120
    assert kernel in {kernel}


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones((4, 2)), r"`X` must have shape \(n_samples, 3\).*got \(4, 2\)"),
        (np.ones(3), r"got \(3,\)"),
        (np.ones((0, 3)), r"at least one sample, got \(0, 3\)"),
        (np.full((4, 3), np.nan), "must be finite"),
    ],
)
def test_bad_samples(X, message):
    with pytest.raises(ValueError, match=message):
        tangent_kernel(drawn_network(), X)


@pytest.mark.parametrize("shape", [(5, 3), (2, 5), (10,), (5,), ()])
def test_bad_residual(shape, X):
    with pytest.raises(ValueError, match=r"must have shape \(5, 2\), got \("):
        tangent_kernel(drawn_network(), X).rate(np.ones(shape))


def test_bad_modules(X):
    with pytest.raises(ValueError, match="imitated_depth=8"):
        tangent_kernel(drawn_network(8).with_depth(4, imitate=True), X)
    with pytest.raises(TypeError, match="got a ConvResidualNetwork"):
        tangent_kernel(ConvResidualNetwork((4, 4, 1), 2, depth=2), X)
