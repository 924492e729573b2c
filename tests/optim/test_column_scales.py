"""Steps with scales of columns are those of a product, of which A alone is kept."""

import pytest
import torch

from odenet import ResidualNetwork
from odenet._optim import column_scales
from odenet._optim.depth_soap import DepthSOAP
from tests.helpers import drawn


def soap_of(p, rate=0.05, **settings):
    return DepthSOAP([{"params": [p.requires_grad_()], **settings}], rate)


def slope(A):
    """The gradient of a loss that is not linear in A."""
    return A.tanh() - drawn(*A.shape, seed=5).to(A)


def follow(optimizer, p, n_steps, slope=slope):
    for _ in range(n_steps):
        p.grad = slope(p.detach())
        optimizer.step(lambda: None)
    return p.detach()


def logs_of(optimizer, p):
    return optimizer.state[p]["scales"]


def test_the_product_moves_as_its_factors_do():
    """The reference keeps both factors, and derives by them with autograd."""
    A = drawn(4, 7)
    n_steps = 30
    moved = follow(soap_of(p := A.clone(), inputs_at=0), p, n_steps)

    matrix, logs = A.clone(), torch.zeros(1, 7, dtype=torch.float64)
    soap = soap_of(matrix)
    adam = torch.optim.Adam([logs.requires_grad_()], 0.05, (0.9, 0.95), 1e-8)
    for _ in range(n_steps):
        product = matrix * logs.exp()
        objective = (product * slope(product.detach())).sum()
        matrix.grad, logs.grad = torch.autograd.grad(objective, (matrix, logs))
        soap.step(lambda: None)
        adam.step()
        with torch.no_grad():
            logs -= logs.mean()
    torch.testing.assert_close(moved, (matrix * logs.exp()).detach())
    assert logs.abs().max() > 0.1


def test_other_matrices_have_no_scales():
    p = drawn(4, 7)
    optimizer = soap_of(p)
    follow(optimizer, p, 3)
    assert "scales" not in optimizer.state[p]
    network = ResidualNetwork(3, 1, depth=4, width=5)
    optimizer = DepthSOAP(network.parameter_groups(), 0.05)
    network(torch.ones(2, 3)).sum().backward()
    optimizer.step(lambda: None)
    scaled = [p for p, state in optimizer.state.items() if "scales" in state]
    assert len(scaled) == 1
    assert scaled[0] is network.embedding


def test_scales_keep_their_mean_and_their_bounds():
    p = drawn(4, 7)
    optimizer = soap_of(p, rate=0.5, inputs_at=0)
    follow(optimizer, p, 3)
    assert logs_of(optimizer, p).mean().abs() < 1e-12
    follow(optimizer, p, 100)
    assert logs_of(optimizer, p).abs().max() <= column_scales.LARGEST_LOG


def test_models_along_an_axis_have_scales_of_their_own():
    A = drawn(2, 4, 7)
    together = follow(soap_of(p := A.clone(), inputs_at=0), p, 25)
    for i in range(2):
        alone = follow(
            soap_of(q := A[i].clone(), inputs_at=0),
            q,
            25,
            lambda a, i=i: slope(a.expand(2, 4, 7))[i],
        )
        torch.testing.assert_close(together[i], alone)


def test_inputs_that_are_always_zero_keep_finite_columns():
    def slope_of_some(A):
        return slope(A) * (torch.arange(7) > 1)

    moved = follow(soap_of(p := drawn(4, 7), inputs_at=0), p, 400, slope_of_some)
    assert moved.isfinite().all()


@pytest.mark.parametrize("bad", [1e30, float("inf"), float("nan")])
def test_gradients_that_are_not_finite_raise_nothing(bad):
    p = drawn(4, 7).float()
    follow(soap_of(p, inputs_at=0), p, 12, lambda a: torch.full_like(a, bad))


def test_steps_go_on_from_a_record_to_the_last_bit():
    A = drawn(4, 7).float()
    whole = follow(soap_of(p := A.clone(), inputs_at=0), p, 40)
    first = soap_of(q := A.clone(), inputs_at=0)
    follow(first, q, 15)
    again = soap_of(q, inputs_at=0)
    again.load_state_dict(first.state_dict())
    assert torch.equal(follow(again, q, 25), whole)
