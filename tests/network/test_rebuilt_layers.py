"""The rebuilt states give the gradients of the stored ones, or say that they cannot."""

import itertools
import weakref

import pytest
import torch

from odenet._network import rebuilt_layers
from odenet._network.layers import plain_stack
from odenet._network.rebuilt_layers import _Layer, rebuilt_stack
from odenet._network.residual import ACTIVATIONS

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4}
COULD_NOT = "The states of {} of {} layers could not be rebuilt backwards"


def make_problem(depth, n=20, size=1.0, dtype=torch.float64, q=6, m=8):
    """First state and weights, of which V and W are smooth functions of depth time."""
    generator = torch.Generator().manual_seed(0)
    s = (torch.arange(depth) + 0.5)[:, None, None] / depth

    def wave(*shape):
        a, b = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
        return size * (torch.sin(3 * s) * a + torch.cos(2 * s) * b)

    h = torch.randn(n, q, generator=generator, dtype=torch.float64)
    tensors = (h, wave(q, m), wave(m, q))
    return [t.to(dtype).requires_grad_() for t in tensors]


def gradients(stack, h, V, W, activation="gelu"):
    """Gradients of a function of h_L in which every entry has a weight of its own."""
    last = stack(h, V, W, ACTIVATIONS[activation], 1 / len(V))
    weights = torch.cos(torch.arange(last.numel())).reshape(last.shape)
    inputs = [t for t in (h, V, W) if t.requires_grad]
    return torch.autograd.grad((weights * last).sum(), inputs)


def relative_errors(problem, activation="gelu"):
    exact = gradients(plain_stack, *problem, activation)
    rebuilt = gradients(rebuilt_stack, *problem, activation)
    return [
        ((a - b).norm() / a.norm()).item() for a, b in zip(exact, rebuilt, strict=True)
    ]


def watch(monkeypatch, method):
    """Count the results of a method of the layers that are alive at its calls."""
    results, n_alive, original = [], [], getattr(_Layer, method)

    def watched(*args):
        result = original(*args)
        results.append(weakref.ref(result))
        n_alive.append(sum(ref() is not None for ref in results))
        return result

    monkeypatch.setattr(_Layer, method, watched)
    return n_alive


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("depth", [1, 2, 16, 128, 1024])
def test_gradients_are_those_of_the_stored_states(depth, dtype):
    """Without a warning, so that all states were rebuilt."""
    for activation, n in itertools.product(ACTIVATIONS, [1, 20]):
        errors = relative_errors(make_problem(depth, n, dtype=dtype), activation)
        assert max(errors) < TOLERANCES[dtype], (activation, n)


def test_rebuilding_takes_few_evaluations_of_a_layer(monkeypatch):
    """About one in float32 at depth 1024, where the extrapolation is that good."""
    n_alive = watch(monkeypatch, "apply")
    gradients(rebuilt_stack, *make_problem(1024, dtype=torch.float32))
    assert len(n_alive) < 1.5 * 1024


def saved_bytes(stack, depth):
    """Bytes saved for the backward, without those of the inputs."""
    problem = make_problem(depth, n=50)
    known, saved = {t.data_ptr() for t in problem}, {}

    def pack(t):
        if t.data_ptr() not in known:
            saved[t.data_ptr()] = t.nbytes
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        last = stack(*problem, ACTIVATIONS["tanh"], 1 / depth)
    assert last.requires_grad
    return sum(saved.values())


def test_states_saved_do_not_grow_with_the_depth():
    """Those between 8 parts, h_0 being an input; stored, each layer has its own."""
    assert saved_bytes(rebuilt_stack, 1000) == saved_bytes(rebuilt_stack, 16)
    assert saved_bytes(rebuilt_stack, 16) == 8 * 50 * 6 * 8
    assert saved_bytes(plain_stack, 64) >= 64 * 50 * (6 + 8) * 8


def test_rebuilt_states_are_let_go(monkeypatch):
    n_alive = watch(monkeypatch, "inverse")
    gradients(rebuilt_stack, *make_problem(256))
    assert len(n_alive) == 256 - 8
    assert max(n_alive) <= 3


def test_recomputed_states_are_as_many_as_the_root_of_the_depth(monkeypatch):
    monkeypatch.setattr(rebuilt_layers, "N_PARTS", 1)
    n_alive = watch(monkeypatch, "apply")
    with pytest.warns(UserWarning, match=COULD_NOT.format(400, 400)):
        gradients(rebuilt_stack, *make_problem(400, size=50), "tanh")
    assert 20 <= max(n_alive) <= 2 * 20 + 2


@pytest.mark.parametrize("depth", [1, 5, 8, 9, 100])
def test_value_is_that_of_the_stored_states_to_the_bit(depth):
    problem = make_problem(depth)
    arguments = (*problem, ACTIVATIONS["tanh"], 1 / depth)
    expected = plain_stack(*arguments)
    assert torch.equal(rebuilt_stack(*arguments), expected)
    with torch.no_grad():
        last = rebuilt_stack(*arguments)
    assert torch.equal(last, expected)
    assert not last.requires_grad


def test_without_gradients_it_is_just_the_forward(monkeypatch):
    monkeypatch.setattr(rebuilt_layers, "_RebuiltStack", None)
    with torch.no_grad():
        rebuilt_stack(*make_problem(4), ACTIVATIONS["tanh"], 1 / 4)


@pytest.mark.parametrize("size", [1.0, 30.0])
@pytest.mark.filterwarnings("ignore:The states of")
def test_any_of_the_gradients_alone(size):
    for needed in list(itertools.product([True, False], repeat=3))[:7]:
        problem = make_problem(16, size=size)
        for t, requires_grad in zip(problem, needed, strict=True):
            t.requires_grad_(requires_grad)
        assert max(relative_errors(problem)) < 1e-10, needed


def test_gradcheck():
    h, V, W = make_problem(20, n=2, q=2, m=3)
    assert torch.autograd.gradcheck(
        lambda *tensors: rebuilt_stack(*tensors, ACTIVATIONS["tanh"], 1 / 20), (h, V, W)
    )


@pytest.mark.parametrize("function", [torch.sum, torch.linalg.vector_norm])
def test_a_second_derivative_is_refused(function):
    """Also where the function of h_L is linear, so that its own one is zero."""
    h, V, W = make_problem(16)
    last = rebuilt_stack(h, V, W, ACTIVATIONS["tanh"], 1 / 16)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(function(last), V, create_graph=True)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_too_large_weights_are_noticed(activation, monkeypatch):
    """In one part, for in 8 parts a depth up to 8 has nothing to rebuild.

    Saturated units magnify the last bit of a state: it has to be right, too.
    """
    monkeypatch.setattr(rebuilt_layers, "N_PARTS", 1)
    for depth, dtype in itertools.product([2, 3, 4, 11], TOLERANCES):
        problem = make_problem(depth, size=30, dtype=dtype)
        with pytest.warns(UserWarning, match=COULD_NOT.format(depth, depth)):
            errors = relative_errors(problem, activation)
        assert max(errors) < 20 * torch.finfo(dtype).eps, (depth, dtype)


def test_it_gives_up_at_once(monkeypatch):
    """Recomputing evaluates no layer more than twice."""
    monkeypatch.setattr(rebuilt_layers, "N_PARTS", 1)
    n_alive = watch(monkeypatch, "apply")
    with pytest.warns(UserWarning, match=COULD_NOT.format(100, 100)):
        gradients(rebuilt_stack, *make_problem(100, size=30))
    assert len(n_alive) < 2 * 100


def test_only_the_part_that_fails_is_recomputed():
    h, V, W = make_problem(64)
    with torch.no_grad():
        V[16:24] *= 300
    with pytest.warns(UserWarning, match=COULD_NOT.format(8, 64)) as warned:
        errors = relative_errors([h, V, W])
    assert len(warned) == 1
    assert max(errors) < 1e-10


@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_overflow_is_noticed(activation):
    problem = make_problem(64, size=1e6, dtype=torch.float32)
    exact = gradients(plain_stack, *problem, activation)
    assert not exact[0].isfinite().all()
    with pytest.warns(UserWarning, match="layers could not be rebuilt"):
        rebuilt = gradients(rebuilt_stack, *problem, activation)
    for a, b in zip(exact, rebuilt, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.float64, 1e-9), (torch.float32, 1e-3)]
)
def test_a_wrong_state_is_noticed(dtype, error, monkeypatch):
    """One entry of one state is planted, in the first of 8 parts."""
    original, n_calls = _Layer.inverse, itertools.count(1)

    def inverse(*args):
        state = original(*args)
        if next(n_calls) == 7:
            state[3, 2] += error
        return state

    monkeypatch.setattr(_Layer, "inverse", inverse)
    with pytest.warns(UserWarning, match=COULD_NOT.format(16, 128)):
        errors = relative_errors(make_problem(128, dtype=dtype))
    assert max(errors) < 10 * torch.finfo(dtype).eps


def test_rounding_errors_that_grow_backwards_are_noticed(monkeypatch):
    """Two directions whose ratio changes by exp(30): in one part there is no way back.

    In 8 parts the errors grow by exp(30 / 8), and all is well.
    """
    h, V, W = make_problem(1000, q=2, m=2)
    with torch.no_grad():
        V[:], W[:] = torch.diag(torch.tensor([-60.0, 0.0])), torch.eye(2)
    assert max(relative_errors([h, V, W], "identity")) < 1e-10
    monkeypatch.setattr(rebuilt_layers, "N_PARTS", 1)
    with pytest.warns(UserWarning, match=COULD_NOT.format(1000, 1000)):
        errors = relative_errors([h, V, W], "identity")
    assert max(errors) < 1e-10


def test_a_large_row_spoils_no_other():
    """A saturated one, which is rebuilt at once, does not end the iteration of all."""
    h, V, W = make_problem(16, size=2, dtype=torch.float32)
    with torch.no_grad():
        h[0] *= 1e6
    exact, rebuilt = (
        gradients(stack, h, V, W, "tanh")[0] for stack in (plain_stack, rebuilt_stack)
    )
    assert ((exact - rebuilt).norm(dim=1) / exact.norm(dim=1)).max() < 1e-4


@pytest.mark.parametrize(("depth", "activation"), [(32, "relu"), (128, "softplus")])
def test_rounding_is_no_reason_to_give_up(depth, activation):
    """States on a line: some are near zero, and all are sums of larger numbers."""
    problem = make_problem(depth, n=1000, size=2, q=1, dtype=torch.float32)
    assert max(relative_errors(problem, activation)) < 1e-4


def test_states_of_zero_stay_zero():
    h, V, W = make_problem(64)
    errors = relative_errors([torch.zeros_like(h).requires_grad_(), V, W], "silu")
    assert errors[0] < 1e-10


def test_weights_of_zero_need_no_iteration(monkeypatch):
    """The usual start: V = 0."""
    h, V, W = make_problem(64)
    n_alive = watch(monkeypatch, "apply")
    assert (
        max(relative_errors([h, torch.zeros_like(V).requires_grad_(), W])[:2]) < 1e-12
    )
    assert len(n_alive) == 64 + 8
