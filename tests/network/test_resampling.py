from itertools import product

import numpy as np
import pytest
import torch

from odenet._network.layers import velocity
from odenet._network.resampling import INTERPOLATIONS, resample
from tests.helpers import draw_all, make_network, slope, smooth_network

ORDER = {"linear": 2, "constant": 1}
OFFSET = {"linear": 0.5, "constant": 0.0}


def inputs():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(20, 3, generator=generator, dtype=torch.float64)


def output_error(first, second):
    with torch.no_grad():
        return (first(inputs()) - second(inputs())).norm().item()


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("numerator", [3, 7, 16])
def test_order_of_the_error_against_sampling_the_function_itself(
    interpolation, numerator
):
    """Up by no whole factor, by any, and far: O(1/L^2) linear, O(1/L) constant."""
    depths = [32, 64, 128]
    errors = []
    for depth in depths:
        new = depth * numerator // 2
        network = smooth_network(depth, OFFSET[interpolation], size=2)
        exact = smooth_network(new, OFFSET[interpolation], size=2)
        errors.append(output_error(network.with_depth(new, interpolation), exact))
    assert slope(depths, errors) == pytest.approx(-ORDER[interpolation], abs=0.15)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("factor", [2, 0.5, 1.75])
def test_output_changes_by_the_order_of_the_layers_step(interpolation, factor):
    """Of the recursion itself, which is explicit Euler: O(1/L)."""
    depths = [64, 128, 256, 512]
    errors = [
        output_error(network, network.with_depth(int(factor * depth), interpolation))
        for depth in depths
        for network in [smooth_network(depth, size=2)]
    ]
    assert slope(depths, errors) == pytest.approx(-1, abs=0.1)


def test_the_same_depth_gives_the_same_weights():
    for interpolation, depth in product(INTERPOLATIONS, [1, 2, 5, 12, 31]):
        network = smooth_network(depth)
        same = network.with_depth(depth, interpolation)
        for name, weights in network.state_dict().items():
            assert torch.equal(weights, same.state_dict()[name])


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("depth", [1, 4, 6])
def test_layers_have_memory_of_their_own(interpolation, depth):
    weights = torch.ones(4, 2)
    resample(weights, depth, interpolation).zero_()
    assert weights.all()


@pytest.mark.parametrize("depth", [1, 3, 12, 17])
def test_linear_resampling_keeps_linear_functions_of_depth(depth):
    def layers(n):
        return (torch.arange(n, dtype=torch.float64) + 0.5)[:, None] / n

    torch.testing.assert_close(resample(layers(12), depth), layers(depth))


@pytest.mark.parametrize(
    ("depth", "expected"),
    [(2, [0, 3]), (3, [0, 2, 4]), (6, range(6)), (12, np.repeat(range(6), 2))],
)
def test_constant_resampling_takes_the_layer_at_a_time(depth, expected):
    layers = resample(torch.arange(6), depth, "constant")
    assert layers.tolist() == list(expected)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_one_layer_is_repeated(interpolation):
    layers = resample(torch.tensor([[2.0, 3.0]]), 4, interpolation)
    assert torch.equal(layers, torch.tensor([[2.0, 3.0]]).expand(4, 2))


@pytest.mark.parametrize("depth_scaling", [0.5, 1.0, 2.0])
def test_function_is_kept_for_every_scaling_by_depth(depth_scaling):
    depths = [64, 128, 256]
    errors = []
    for depth in depths:
        network = smooth_network(depth, size=2, depth_scaling=depth_scaling)
        errors.append(output_error(network, network.with_depth(2 * depth)))
    assert slope(depths, errors) == pytest.approx(-1, abs=0.1)


def test_the_original_stays_as_it_is():
    network = smooth_network(8)
    before = {name: weights.clone() for name, weights in network.state_dict().items()}
    shallow = network.with_depth(4)
    with torch.no_grad():
        for weights in shallow.parameters():
            weights.add_(1.0)
    assert network.depth == 8
    for name, weights in network.state_dict().items():
        assert torch.equal(weights, before[name])


@pytest.mark.parametrize("depth", [0, -3, 2.5, "4"])
def test_a_depth_that_is_none_is_refused(depth):
    with pytest.raises(ValueError, match="`depth` must be a positive integer, got"):
        smooth_network(4).with_depth(depth)


def test_an_unknown_interpolation_is_refused():
    with pytest.raises(ValueError, match="`interpolation` must be one of .*'cubic'"):
        smooth_network(4).with_depth(8, "cubic")


def test_merged_layers_add_up_their_velocities(generator):
    """In one layer all act on the first state; zeros fill up a smaller group."""
    for depth, scaling in [(1, 1.0), (2, 1.0), (3, 0.5), (7, 0.0)]:
        network = draw_all(make_network(depth=7, width=4, depth_scaling=scaling))
        merged = network.with_depth(depth, merge=True)
        k = -(-7 // depth)
        assert (merged.depth, merged.width) == (depth, 4 * k)
        x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
        h = network.embed(x)
        for group in torch.arange(7).tensor_split(depth):
            velocities = [
                velocity(h, network.V[j], network.W[j], torch.nn.functional.gelu)
                for j in group
            ]
            h = h + sum(velocities) * 7.0**-scaling
        torch.testing.assert_close(merged(x), h @ network.head.mT)


def test_merging_is_of_first_order_even_for_independent_layers(generator):
    """Resampling leaves half of them out, which changes the output altogether."""
    x = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    depths, distances = [32, 128, 512], []
    for depth in depths:
        network = make_network(depth=depth, width=8, state_dim=12, init="iid")
        with torch.no_grad():
            noise = torch.randn(
                network.V.shape, generator=generator, dtype=torch.float64
            )
            network.V.copy_(3 * noise)
            network.head.normal_(generator=generator)
        output = network(x)
        moved = [
            (network.with_depth(depth // 2, merge=merge)(x) - output).norm().item()
            for merge in (True, False)
        ]
        assert moved[0] < 0.2 * moved[1]
        distances.append(moved[0] / moved[1])
    assert slope(depths, distances) < -0.5


def test_what_cannot_be_merged_is_refused():
    network = make_network(depth=8)
    for make, message in [
        (lambda: network.with_depth(9, merge=True), "at most 8 to merge"),
        (lambda: network.with_depth(0, merge=True), "positive integer, got 0"),
        (lambda: network.with_depth(4, merge=True, imitate=True), "no `imitate`"),
        (
            lambda: network.with_depth(4, imitate=True).with_depth(2, merge=True),
            "none that imitate",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
