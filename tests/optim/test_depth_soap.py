"""SOAP's step turns with its coordinates, and is as smooth in depth as the gradient."""

import pytest
import torch

from odenet import ResidualNetwork, ResODERegressor, depth_smoothness
from odenet._optim import depth_soap
from odenet._optim.depth_adamw import DepthAdamW
from odenet._optim.depth_soap import DepthSOAP
from odenet.solvers import SOAP
from tests.helpers import drawn


def follow(optimizer, p, gradients):
    """Take a step for every gradient, whatever the weights are."""
    for gradient in gradients:
        p.grad = gradient.clone()
        optimizer.step(lambda: None)
    return p.detach().clone()


@pytest.fixture
def without_least_size(monkeypatch):
    monkeypatch.setattr(depth_soap, "LEAST_SHARE", 0.0)


def optimizer_of(p, kind=DepthSOAP, *, has_depth=True, **settings):
    p.requires_grad_()
    return kind([{"params": [p], "has_depth": has_depth}], 0.1, **settings)


def rotation(n, seed):
    return torch.linalg.qr(drawn(n, n, seed=seed)).Q


def test_steps_turn_with_the_coordinates():
    """In other orthonormal coordinates SOAP takes the same steps; Adam does not."""
    left, right = rotation(4, 1), rotation(6, 2)
    gradients = drawn(25, 5, 4, 6)  # in 25 steps, of 5 layers
    gradients = gradients * torch.arange(1, 7) * torch.arange(1, 5)[:, None]

    def turned(g):
        return left @ g @ right.mT

    for kind, is_same in ((DepthSOAP, True), (DepthAdamW, False)):
        ends = [
            follow(optimizer_of(p, kind), p, gs)
            for p, gs in (
                (torch.zeros(5, 4, 6, dtype=torch.float64), gradients),
                (torch.zeros(5, 4, 6, dtype=torch.float64), turned(gradients)),
            )
        ]
        assert torch.allclose(turned(ends[0]), ends[1], atol=1e-6) == is_same


def test_uncorrelated_entries_make_it_adam(without_least_size):
    """Where the axes are eigenvectors already, in order, nothing has to be turned."""
    signs = drawn(30, 1, 1, 3).sign() * torch.tensor([4.0, 2.0, 1.0])
    gradients = torch.diag_embed(signs[:, 0, 0])[:, None].expand(30, 2, 3, 3)
    ends = [
        follow(optimizer_of(p, kind), p, gradients)
        for kind in (DepthSOAP, DepthAdamW)
        for p in [torch.zeros(2, 3, 3, dtype=torch.float64)]
    ]
    torch.testing.assert_close(*ends)


def test_a_step_is_one_linear_map_for_all_layers():
    """Layers of gradient zero rest, and one of twice the gradient goes twice as far."""
    shares = torch.tensor([0.0, 1.0, 2.0, -1.0], dtype=torch.float64)
    gradients = shares[:, None, None] * drawn(30, 1, 5, 3)
    p = torch.zeros(4, 5, 3, dtype=torch.float64)
    moved = follow(optimizer_of(p), p, gradients)
    torch.testing.assert_close(moved, shares[:, None, None] * moved[1])
    assert moved[1].abs().max() > 0.1


def test_models_along_an_axis_are_independent():
    gradients = drawn(25, 3, 2, 4, 5)
    p = torch.zeros(3, 2, 4, 5, dtype=torch.float64)
    together = follow(optimizer_of(p), p, gradients)
    for i in range(2):
        q = torch.zeros(3, 4, 5, dtype=torch.float64)
        alone = follow(optimizer_of(q), q, gradients[:, :, i])
        torch.testing.assert_close(together[:, i], alone)


def test_long_sides_keep_their_coordinates(without_least_size):
    """With no side to turn it is Adam; the sides of a wide table are not turned."""
    gradients = drawn(25, 4, 6)
    p = torch.zeros(4, 6, dtype=torch.float64)
    adam = follow(optimizer_of(p, DepthAdamW, has_depth=False), p, gradients)
    q = torch.zeros(4, 6, dtype=torch.float64)
    optimizer = optimizer_of(q, has_depth=False, longest_side=3)
    torch.testing.assert_close(follow(optimizer, q, gradients), adam)
    r = torch.zeros(4, 6, dtype=torch.float64)
    optimizer = optimizer_of(r, has_depth=False, longest_side=5)
    assert not torch.allclose(follow(optimizer, r, gradients), adam)
    left, right = optimizer.state[r]["bases"]
    assert (left.shape, right) == ((4, 4), None)


@pytest.mark.parametrize("n_columns", [6, 8])
@pytest.mark.parametrize("front", [(), (5,), (5, 2)])  # of depth and of models
def test_blocks_of_columns_are_matrices_of_their_own(
    monkeypatch, without_least_size, front, n_columns
):
    """Of 8 columns the last block has one of zeros, which moves nothing."""
    monkeypatch.setattr(depth_soap, "LARGEST_BLOCK", 3)
    gradients = drawn(35, *front, 4, n_columns)
    p = torch.zeros(*front, 4, n_columns, dtype=torch.float64)
    optimizer = optimizer_of(p, has_depth=bool(front))
    whole = follow(optimizer, p, gradients)
    alone = []
    for block in gradients.split(3, dim=-1):
        q = torch.zeros(block.shape[1:], dtype=torch.float64)
        alone.append(follow(optimizer_of(q, has_depth=bool(front)), q, block))
    torch.testing.assert_close(whole, torch.cat(alone, dim=-1))
    right = optimizer.state[p]["bases"][1]
    assert right.shape == (*front[1:], -(-n_columns // 3), 3, 3)


def test_long_sides_turn_less_often(monkeypatch):
    gradients = drawn(100, 4, 6)

    def basis_after(n_steps):
        p = torch.zeros(4, 6, dtype=torch.float64)
        optimizer = optimizer_of(p, has_depth=False, longest_side=8)
        follow(optimizer, p, gradients[:n_steps])
        return optimizer.state[p]["bases"][1]

    first = basis_after(9)
    assert not torch.equal(first, basis_after(10))
    monkeypatch.setattr(depth_soap, "LONGEST_SIDE", 5)
    assert torch.equal(first, basis_after(99))
    assert not torch.equal(first, basis_after(100))


def test_records_of_before_have_no_blocks():
    gradients = drawn(40, 4, 6)
    p, q = (torch.zeros(4, 6, dtype=torch.float64) for _ in range(2))
    whole = follow(optimizer_of(p, has_depth=False), p, gradients)
    optimizer = optimizer_of(q, has_depth=False)
    follow(optimizer, q, gradients[:15])
    kept = optimizer.state_dict()
    del kept["state"][0]["n_blocks"]
    again = optimizer_of(q, has_depth=False)
    again.load_state_dict(kept)
    assert torch.equal(follow(again, q, gradients[15:]), whole)


def test_gradients_that_are_not_finite_raise_nothing():
    """The training sees that the loss is not finite, and goes back; eigh would fail."""
    for bad in (1e30, float("inf"), float("nan")):
        large = torch.full((12, 2, 3, 3), bad)
        for gradients in (large, torch.cat([drawn(5, 2, 3, 3).float(), large])):
            p = torch.zeros(2, 3, 3)
            optimizer = optimizer_of(p)
            follow(optimizer, p, gradients)
            assert all(basis.isfinite().all() for basis in optimizer.state[p]["bases"])


def test_the_first_gradient_may_be_zero():
    """As that of W is, where V starts at zero."""
    gradients = torch.cat([torch.zeros(1, 2, 3, 4), drawn(40, 2, 3, 4).float()])
    p = torch.zeros(2, 3, 4)
    moved = follow(optimizer_of(p), p, gradients)
    assert moved.isfinite().all()
    assert moved.abs().min() > 0


def test_decay_is_decoupled():
    p, q = (torch.ones(2, 3, 3, dtype=torch.float64) for _ in range(2))
    gradients = drawn(1, 2, 3, 3)
    free = follow(optimizer_of(p), p, gradients)
    shrunk = follow(optimizer_of(q, weight_decay=0.5), q, gradients)
    torch.testing.assert_close(free - shrunk, torch.full_like(free, 0.1 * 0.5))


def test_steps_go_on_from_a_record_to_the_last_bit():
    """A record keeps arrays in the usual order, in which products are rounded alike."""
    gradients = drawn(40, 3, 2, 7, 5).float()
    p, q = (torch.zeros(3, 2, 7, 5) for _ in range(2))
    whole = follow(optimizer_of(p), p, gradients)
    optimizer = optimizer_of(q)
    follow(optimizer, q, gradients[:15])
    kept = optimizer.state_dict()
    assert all(basis.is_contiguous() for basis in kept["state"][0]["bases"])
    for name in ("moments", "bases"):
        kept["state"][0][name] = tuple(
            t.clone(memory_format=torch.contiguous_format)
            for t in kept["state"][0][name]
        )
    again = optimizer_of(q)
    again.load_state_dict(kept)
    assert torch.equal(follow(again, q, gradients[15:]), whole)


def lipschitz(depth):
    """The smoothness after steps whose gradient is a function of depth time."""
    generator = torch.Generator().manual_seed(0)
    network = ResidualNetwork(3, 1, depth=depth, width=4, generator=generator)
    depth_time = (torch.arange(depth) + 0.5) / depth
    profile = torch.sin(6 * depth_time)[:, None, None]
    optimizer = DepthSOAP(network.parameter_groups(), 0.01)
    for step in range(30):
        for p in (network.embedding, network.head):
            p.grad = torch.zeros_like(p)
        for seed, p in enumerate((network.V, network.W)):
            p.grad = profile * drawn(*p.shape[1:], seed=seed + 2 * step).to(p)
        optimizer.step(lambda: None)
    return depth_smoothness(network).lipschitz


def test_smoothness_does_not_depend_on_depth():
    bounds = [lipschitz(depth) for depth in (32, 128)]
    assert bounds[1] == pytest.approx(bounds[0], rel=0.05)


def test_a_fit_goes_through_depths_and_stays_a_discretised_ode(rng):
    X = rng.normal(size=(600, 4))
    y = X[:, 0] * X[:, 1] + X[:, 2]
    solver = SOAP(max_epochs=40)
    for n_members in (1, 2):
        model = ResODERegressor(
            32, width=16, solver=solver, n_members=n_members, random_state=0
        ).fit(X, y)
        assert model.depth_smoothness_.von_neumann_ratio < 0.05
        assert [row["depth"] for row in model.depth_path_] == [8, 32]
        assert model.score(X, y) > 0.95


@pytest.mark.parametrize("exponent", range(-22, -10))
def test_gradients_whose_squares_underflow_have_a_basis(exponent):
    """So small are those by inputs that are zero but for rounding."""
    p = torch.zeros(3, 36, 20)
    gradient = drawn(3, 36, 20).float()
    gradient[:, 25:] = 10.0**exponent
    optimizer = optimizer_of(p)
    moved = follow(optimizer, p, [gradient] * 12)
    assert moved.isfinite().all()
    assert moved[:, :25].abs().mean() > 0.1
    left, _ = optimizer.state[p]["bases"]
    torch.testing.assert_close(left.mT @ left, torch.eye(36), rtol=0, atol=1e-5)
