"""The written stack is the plain one: values, gradients, and all of autograd's ways."""

from itertools import product

import pytest
import torch
from torch.autograd import forward_ad

from odenet._network import fast_layers, workspace
from odenet._network.activations import ACTIVATIONS
from odenet._network.fast_layers import (
    is_steady,
    residual_stack,
    rows_at_once,
    steady_stack,
)
from odenet._network.layers import plain_stack
from odenet._network.scratch import current_scratch, scratch
from tests.network.problems import (
    GELU,
    TOLERANCES,
    assert_equal_to_rounding,
    make_problem,
    value_and_gradients,
)


@pytest.fixture(autouse=True)
def _own_scratch():
    with scratch():
        yield


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_all_activations(activation):
    for imitated, dtype in product([None, 64, float("inf")], TOLERANCES):
        problem = make_problem(dtype=dtype)
        results, expected = (
            value_and_gradients(stack, *problem, ACTIVATIONS[activation], imitated)
            for stack in (residual_stack, plain_stack)
        )
        assert_equal_to_rounding(results, expected)


def test_all_shapes():
    for shape in [
        (1, 5, 6, 4),
        (7, 1, 6, 4),
        (7, 5, 1, 4),
        (7, 5, 6, 1),
        (1, 1, 1, 1),
        (3, 4, 2, 15),
        (3, 4, 2, 16),
        (3, 4, 2, 17),
        (3, 4, 2, 40),
        (600, 8, 64, 3),
        (9000, 16, 32, 2),
    ]:
        for imitated, dtype in product([None, 100], TOLERANCES):
            problem = make_problem(*shape, dtype=dtype)
            results, expected = (
                value_and_gradients(stack, *problem, depth=imitated)
                for stack in (residual_stack, plain_stack)
            )
            assert_equal_to_rounding(results, expected)


@pytest.mark.parametrize("imitated", [None, 64])
@pytest.mark.parametrize("depth", [1, 5, 20])
def test_many_models_are_each_as_alone(depth, imitated):
    inputs, g = make_problem(depth=depth, models=(3,))
    together = value_and_gradients(residual_stack, inputs, g, depth=imitated)
    for i in range(3):
        alone = [t.detach().requires_grad_() for t in of_model(i, *inputs)]
        expected = value_and_gradients(residual_stack, alone, g[i], depth=imitated)
        last, *gradients = together
        assert_equal_to_rounding([last[i], *of_model(i, *gradients)], expected)


def of_model(i, h, V, W):
    return h[i], V[:, i], W[:, i]


@pytest.mark.parametrize("models", [(), (2,)])
@pytest.mark.parametrize("imitated", [None, 64])
@pytest.mark.parametrize("n", [1, 7, 20_000])
def test_without_gradients_nothing_is_stored(n, imitated, models, monkeypatch):
    (h, V, W), _ = make_problem(n, models=models)
    last = residual_stack(h, V, W, GELU, 0.25, imitated)
    monkeypatch.setattr("odenet._network.fast_layers.take_workspace", None)
    start = h.detach().clone()
    with torch.no_grad():
        torch.testing.assert_close(
            residual_stack(h, V, W, GELU, 0.25, imitated), last, rtol=1e-13, atol=1e-13
        )
    assert torch.equal(h, start)


@pytest.mark.parametrize("imitated", [None, 64])
def test_two_forwards_before_the_first_backward(imitated):
    problems = [make_problem(seed=seed) for seed in (0, 1)]
    lasts = [residual_stack(*inputs, GELU, 0.25, imitated) for inputs, _ in problems]
    for (inputs, g), last in zip(problems, lasts, strict=True):
        results = [last, *torch.autograd.grad(last, inputs, g)]
        expected = value_and_gradients(plain_stack, inputs, g, depth=imitated)
        assert_equal_to_rounding(results, expected)


def test_gradients_accumulate():
    inputs, g = make_problem()
    residual_stack(*inputs, GELU, 0.25).backward(g)
    once = [t.grad.clone() for t in inputs]
    residual_stack(*inputs, GELU, 0.25).backward(g)
    for t, grad in zip(inputs, once, strict=True):
        torch.testing.assert_close(t.grad, 2 * grad)


def test_backward_twice_through_the_same_graph():
    inputs, g = make_problem()
    last = residual_stack(*inputs, GELU, 0.25)
    first = torch.autograd.grad(last, inputs, g, retain_graph=True)
    value_and_gradients(residual_stack, *make_problem(seed=1))  # takes the workspace
    second = torch.autograd.grad(last, inputs, g)
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


def test_changing_a_weight_before_backward_is_an_error():
    inputs, g = make_problem()
    last = residual_stack(*inputs, GELU, 0.25)
    with torch.no_grad():
        inputs[1].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(last, inputs, g)


@pytest.mark.parametrize("imitated", [None, 64])
def test_second_derivatives(imitated):
    inputs, _ = make_problem(n=2, q=3, m=2, depth=3)

    def function(*inputs):
        return residual_stack(*inputs, GELU, 1 / 3, imitated)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_a_part_of_the_inputs_needs_gradients():
    (h, V, W), g = make_problem()
    expected = value_and_gradients(plain_stack, [h, V, W], g)[3]
    last = residual_stack(h.detach(), V.detach(), W, GELU, 0.25)
    for create_graph in (False, True):
        (grad,) = torch.autograd.grad(
            last, [W], g, retain_graph=True, create_graph=create_graph
        )
        torch.testing.assert_close(grad, expected)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
def test_transforms_of_functions():
    """torch.func and forward mode take the plain path."""
    (h, V, W), g = make_problem()
    h, V, W = (t.detach() for t in (h, V, W))

    def gradient(stack):
        return torch.func.grad(lambda h: stack(h, V, W, GELU, 0.25).sum())

    def tangent(stack):
        with forward_ad.dual_level():
            last = stack(forward_ad.make_dual(h, g), V, W, GELU, 0.25)
            return forward_ad.unpack_dual(last).tangent

    torch.testing.assert_close(
        torch.func.vmap(gradient(residual_stack))(h[:, None]),
        torch.func.vmap(gradient(plain_stack))(h[:, None]),
    )
    torch.testing.assert_close(tangent(residual_stack), tangent(plain_stack))


def test_other_number_formats_take_the_plain_path():
    (h, V, W), _ = make_problem(dtype=torch.bfloat16)
    assert residual_stack(h, V, W, GELU, 0.25).dtype == torch.bfloat16


def test_a_large_stack_is_plain(monkeypatch):
    """Its workspace would not be kept: fresh memory costs more than it saves."""
    monkeypatch.setattr(workspace, "MAX_KEPT_BYTES", 100)
    inputs, g = make_problem()
    results = value_and_gradients(residual_stack, inputs, g)
    assert len(current_scratch().workspaces) == 0
    assert_equal_to_rounding(results, value_and_gradients(plain_stack, inputs, g))


@pytest.mark.parametrize("imitated", [None, 64])
def test_samples_are_evaluated_in_parts_that_fit_a_cache(imitated, monkeypatch):
    """As many at once as are asked for, all of them, in their order."""
    monkeypatch.setattr(fast_layers, "MIN_ROWS", 3)
    monkeypatch.setattr(fast_layers, "CACHED", 44)
    assert rows_at_once(torch.empty(2, 5, 6)) == 4
    assert rows_at_once(torch.empty(2, 50, 60)) == 3
    inputs, g = make_problem(n=10)
    expected = value_and_gradients(plain_stack, inputs, g, depth=imitated)
    results = value_and_gradients(residual_stack, inputs, g, depth=imitated)
    assert_equal_to_rounding(results, expected)
    assert [len(w.points[0]) for w in current_scratch().workspaces][-3:] == [2, 4, 4]
    with torch.no_grad():
        last = residual_stack(*inputs, GELU, 0.25, imitated)
    assert_equal_to_rounding([last], expected[:1])


@torch.no_grad()
def test_steady_rows_are_the_same_to_the_bit_in_every_batch():
    """Also in float32, where a product of one row is summed in another order.

    1,000 rows of width 40 are enough for the kernel of many numbers, 1 to 33 are not.
    The weights have two orders in memory.
    """
    shapes = [(18, 40), (5, 4), (9, 17)]
    cases = product([(), (2,)], shapes, ACTIVATIONS.items(), (None, 64))
    for models, shape, (name, activation), depth in cases:
        if not is_steady(*shape, activation, torch.get_num_threads()):
            continue
        more = {"models": models, "seed": 1, "dtype": torch.float32}
        (h, V, W), _ = make_problem(1000, *shape, **more)
        settings = activation, 0.25, depth
        all_rows = steady_stack(h, V, W, *settings)
        assert_equal_to_rounding([all_rows], [plain_stack(h, V, W, *settings)])
        V, W = (Z.mT.contiguous().mT for Z in (V, W))
        for rows in (range(1), range(5, 7), range(100, 131), range(999, 400, -1)):
            found = steady_stack(h[..., rows, :].clone(), V, W, *settings)
            assert torch.equal(found, all_rows[..., rows, :]), (name, shape, rows)


def test_a_product_whose_rows_depend_on_the_batch_is_found_out(monkeypatch):
    """As on machines that sum few rows in another order than many."""
    steady, mm = is_steady.__wrapped__, torch.mm
    before = steady(18, 40, GELU, 1)

    def other_order(h, *args, **kwargs):
        return mm(h, *args, **kwargs).mul_(1 + 1e-6 * (len(h) < 100))

    monkeypatch.setattr(torch, "mm", other_order)
    assert not steady(18, 40, GELU, 1)
    assert before or torch.backends.mkl.is_available() is False


@torch.no_grad()
def test_steady_rows_are_evaluated_in_equal_parts(monkeypatch):
    """Of a multiple of 32 rows, which fit a cache, by layers of a multiple of 16 units.

    The layers have the same order in memory whatever that of the weights is.
    """
    monkeypatch.setattr(fast_layers, "MIN_ROWS", 100)
    sizes, strides = [], set()
    mm, scaled_layers = torch.mm, fast_layers.scaled_layers

    def count(h, W_k, **kwargs):
        sizes.append((len(h), W_k.shape[1]))
        return mm(h, W_k, **kwargs)

    def look(*weights):
        layers = scaled_layers(*weights)
        strides.update((V_k.stride(), W_k.stride()) for V_k, W_k in layers)
        return layers

    for width in (704, 700):
        (h, V, W), _ = make_problem(120, 2000, width, depth=1)
        expected = plain_stack(h, V, W, GELU, 1.0)
        V, W = (Z.mT.contiguous().mT for Z in (V, W))
        with monkeypatch.context() as patched:
            patched.setattr(torch, "mm", count)
            patched.setattr(fast_layers, "scaled_layers", look)
            last = steady_stack(h, V, W, GELU, 1.0)
        assert_equal_to_rounding([last], [expected])
    assert sizes == [(64, 704)] * 4
    assert strides == {((1, 704), (1, 2000))}
