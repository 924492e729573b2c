import numpy as np
import pytest
import torch

from odenet.schemes import SCHEMES, GaussianProcess, Independent, Tied, resolve_scheme


@pytest.mark.parametrize("name", SCHEMES)
def test_draws_are_standard_gaussian_and_reproducible(name):
    draw = [SCHEMES[name](5, (40, 50), torch.Generator().manual_seed(1)) for _ in "ab"]
    assert draw[0].shape == (5, 40, 50)
    assert draw[0].dtype == torch.float64
    assert torch.equal(*draw)
    assert draw[0][2].mean() == pytest.approx(0, abs=0.1)
    assert draw[0][2].std() == pytest.approx(1, abs=0.1)


def test_tied_layers_are_equal_and_independent_of_each_other(generator):
    W = Tied()(4, (3, 2), generator)
    assert torch.equal(W[0], W[3])
    W[0] = 0
    assert W[3].any()


def test_iid_layers_are_uncorrelated(generator):
    W = Independent()(2, (200, 200), generator)
    correlation = np.corrcoef(W.reshape(2, -1).numpy())[0, 1]
    assert correlation == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("length_scale", [0.02, 0.3, 2.0])
def test_gaussian_process_has_the_squared_exponential_covariance(
    length_scale, generator
):
    depth = 6
    W = GaussianProcess(length_scale)(depth, (300, 300), generator)
    s = np.arange(depth) / depth
    expected = np.exp(-(np.subtract.outer(s, s) ** 2) / (2 * length_scale**2))
    measured = W.reshape(depth, -1).numpy()
    np.testing.assert_allclose(measured @ measured.T / 300**2, expected, atol=0.02)


def test_one_draw_is_one_function_of_depth_time():
    coarse, fine = (
        GaussianProcess(0.3)(depth, (4, 4), torch.Generator().manual_seed(3))
        for depth in (5, 15)
    )
    torch.testing.assert_close(coarse, fine[::3])


def test_gaussian_process_is_smooth_and_tends_to_tied():
    steps = []
    for length_scale in (0.1, 1.0, 1e6):
        generator = torch.Generator().manual_seed(0)
        W = GaussianProcess(length_scale)(64, (8, 8), generator)
        steps.append(64 * W.diff(dim=0).norm(dim=(1, 2)).max().item())
    assert steps[0] > 5 * steps[1] > 0
    assert steps[2] < 1e-4


def test_too_short_a_length_scale_is_refused():
    with pytest.raises(
        ValueError, match=r"`length_scale` must be at least 0.02.*0.001"
    ):
        GaussianProcess(length_scale=0.001)


def test_resolving():
    assert resolve_scheme("tied") == Tied()
    assert resolve_scheme(len) is len
    with pytest.raises(ValueError, match="`init` must be one of.*'orthogonal'"):
        resolve_scheme("orthogonal")
