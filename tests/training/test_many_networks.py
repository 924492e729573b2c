"""Networks that are trained as one are each trained as alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris, make_friedman1, make_moons
from sklearn.metrics import check_scoring
from sklearn.model_selection import KFold

from odenet import ResidualNetwork, ResODEClassifier, ResODERegressor
from odenet._losses.base import Loss
from odenet._losses.cross_entropy import CrossEntropy, LogisticLoss
from odenet._losses.squared_error import SquaredError
from odenet._network.gradients import add_gradients
from odenet._network.model_axis import join_networks, network_at
from odenet._search.sweep import Sweep
from odenet._tables.reading import Announced
from odenet._tables.samples import Samples
from odenet._training.batches import SliceLoader
from odenet._training.many_networks import (
    JointLoss,
    JointNet,
    join_samples,
    share_samples,
)
from odenet.solvers import Flow

AXES = (0, 1, 1, 0)  # of the models in A, V, W and B
LOSSES = {
    "squared error": (SquaredError(), 2, lambda n: torch.randn(n, 2).double()),
    "logistic": (LogisticLoss(), 1, lambda n: torch.randint(2, (n,))),
    "cross-entropy": (CrossEntropy(), 3, lambda n: torch.randint(3, (n,))),
}


def make_networks(n_outputs, depth=4):
    return [
        ResidualNetwork(
            3,
            n_outputs,
            depth=depth,
            width=5,
            dtype=torch.float64,
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in range(3)
    ]


def make_samples(draw, sizes=(7, 5, 7)):
    return [
        Samples(
            torch.randn(n, 3, dtype=torch.float64), draw(n), torch.rand(n).double() + 1
        )
        for n in sizes
    ]


def test_networks_come_back_out_of_the_stack():
    networks = make_networks(2)
    stacked = join_networks(networks)
    assert (stacked.depth, stacked.width, stacked.state_dim) == (4, 5, 16)
    X = torch.randn(3, 6, 3, dtype=torch.float64)
    for i, network in enumerate(networks):
        again = network_at(stacked, i)
        assert torch.equal(again(X[i]), network(X[i]))
        torch.testing.assert_close(stacked(X)[i], network(X[i]))
        torch.testing.assert_close(
            stacked.hidden_states(X)[:, i], network.hidden_states(X[i])
        )


@pytest.mark.parametrize("imitated_depth", [None, 64])
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_of_the_sum_is_each_networks_own(name, imitated_depth):
    """Of sample sets of several sizes: the padding has no weight."""
    torch.manual_seed(0)
    loss, n_outputs, draw = LOSSES[name]
    networks, samples = make_networks(n_outputs), make_samples(draw)
    for network in networks:
        network.imitated_depth = imitated_depth
    stacked, together = join_networks(networks), join_samples(samples)
    _, total = add_gradients(
        stacked,
        JointLoss([loss] * 3),
        together.X,
        together.y,
        together.weight / len(together),
    )
    totals = []
    for i, (network, own) in enumerate(zip(networks, samples, strict=True)):
        share = own.weight / len(own)
        totals.append(add_gradients(network, loss, own.X, own.y, share)[1])
        gradients = (p.grad for p in stacked.parameters())
        for axis, p, grad in zip(AXES, network.parameters(), gradients, strict=True):
            torch.testing.assert_close(grad.select(axis, i), p.grad)
    torch.testing.assert_close(total, torch.stack(totals).sum())
    net = JointNet(stacked, JointLoss([loss] * 3), Flow()).initialize()
    X, y = together.batch()
    torch.testing.assert_close(net.get_loss(stacked(X["X"]), y, X=X).detach(), total)
    zeros = (loss.per_sample(torch.zeros(len(s), n_outputs), s.y) for s in samples)
    means = [(s.weight * z).mean() for s, z in zip(samples, zeros, strict=True)]
    assert net.loss_of_zero(together) == pytest.approx(sum(means).item())


def sweeps(estimator, X, y, n_folds=4, flow_times=(0.3, 3.0)):
    """Results of all folds together, and of each alone."""
    splits = list(KFold(n_folds, shuffle=True, random_state=0).split(X))
    classes = None if isinstance(estimator, ResODERegressor) else np.unique(y)
    scorer, announced = check_scoring(estimator), Announced(classes=classes)
    sweep = Sweep(estimator, [4, 16], list(flow_times), scorer, announced)
    alone = [sweep.run(X, y, [split], None, {})[0] for split in splits]
    return sweep.run(X, y, splits, None, {}), alone


@pytest.mark.parametrize("depth_schedule", ["doubling", None])
@pytest.mark.parametrize("data", ["friedman", "moons", "iris"])
def test_folds_are_as_alone(data, depth_schedule):
    """Up to the solver's tolerance: the steps are shared."""
    estimator, (X, y) = {
        "friedman": (ResODERegressor, make_friedman1(50, random_state=0)),
        "moons": (ResODEClassifier, make_moons(50, noise=0.3, random_state=0)),
        "iris": (ResODEClassifier, load_iris(return_X_y=True)),
    }[data]
    estimator = estimator(
        16,
        width=8,
        solver=Flow(rtol=1e-5),
        dtype="float64",
        depth_schedule=depth_schedule,
        early_stopping=False,
        random_state=0,
    )
    together, alone = sweeps(estimator, X, y)
    for (scores, reason, _), (exact, reason_alone, _) in zip(
        together, alone, strict=True
    ):
        np.testing.assert_allclose(scores, exact, atol=2e-5)
        assert reason == reason_alone


def test_the_least_accurate_network_settles_the_steps():
    """The error is the largest one of a model, not their mean."""
    X, y = make_friedman1(40, random_state=0)
    networks = make_networks(1)
    samples = [
        Samples(torch.tensor(X[:, :3]), size * torch.tensor(y)[:, None], torch.ones(40))
        for size in (1e-3, 1e-3, 1.0)
    ]
    steps = []
    for chosen in ([2], [0, 1, 2]):
        stacked = join_networks([networks[i] for i in chosen])
        together = join_samples([samples[i] for i in chosen])
        share = together.weight.double() / len(together)
        flow = Flow(rtol=1e-3).make_optimizer(stacked, horizon=1.0)

        def closure(stacked=stacked, together=together, share=share):
            stacked.zero_grad()
            loss = JointLoss([SquaredError()] * len(share))
            return add_gradients(stacked, loss, together.X, together.y, share)[1]

        n_steps = 0
        while flow.flow_time < 1.0:
            flow.step(closure)
            n_steps += 1
        steps.append(n_steps)
    assert steps[1] >= steps[0] > 5


@pytest.mark.parametrize("name", LOSSES)
def test_held_out_samples_of_all_models_are_judged_as_one_set(name):
    """Their mean loss, their score and the losses, where padding has no weight."""
    torch.manual_seed(1)
    loss, n_outputs, draw = LOSSES[name]
    networks, samples = make_networks(n_outputs), make_samples(draw, sizes=(4, 4, 3))
    for network in networks:
        torch.nn.init.normal_(network.head)
    net = JointNet(join_networks(networks), JointLoss([loss] * 3), Flow()).initialize()
    net.history.new_epoch()
    step = net.validation_step(join_samples(samples).batch())
    losses = [
        loss.per_sample(network(s.X), s.y)
        for network, s in zip(networks, samples, strict=True)
    ]
    mean = np.mean(
        [(s.weight * x).mean().item() for s, x in zip(samples, losses, strict=True)]
    )
    assert step["loss"].item() == pytest.approx(mean)
    weight = net.valid_weight
    assert (weight > 0).sum() == 11
    assert (weight @ net.valid_losses / 9).item() == pytest.approx(mean)
    torch.testing.assert_close(net.valid_losses[weight > 0], torch.cat(losses))
    outputs = [n(s.X) for n, s in zip(networks, samples, strict=True)]
    joined = torch.cat(outputs), torch.cat([s.y for s in samples])
    score = loss.score(*joined, weight[weight > 0])
    assert net.history[-1, "valid_score"] == pytest.approx(score)


def test_the_targets_of_the_padding_are_in_the_domain_of_a_loss():
    """A loss may be infinite at zero, and no weight makes that a number."""
    sets = [
        Samples(torch.ones(n, 2), torch.full((n, 1), 2.0), torch.ones(n))
        for n in (3, 5)
    ]
    joined = join_samples(sets)
    assert (joined.y == 2).all()
    assert (joined.X[0, 3:] == 0).all()
    assert (joined.weight[0, 3:] == 0).all()
    loss = JointLoss([Logarithms()] * 2)
    losses = loss.per_sample(torch.zeros(2, 5, 1), joined.y)
    assert (joined.weight * losses).sum().isfinite()


class Logarithms(Loss):
    """The squared error of logarithms."""

    link = "log"

    def per_sample(self, output, y):
        return (output - y.log()).square().sum(dim=1)


def test_shared_samples_have_the_mean_of_every_model():
    (samples,) = make_samples(lambda n: torch.randn(n, 2).double(), sizes=(12,))
    samples = replace(samples, weight=samples.weight / samples.weight.mean())
    parts = torch.ones(3, 12, dtype=torch.float64)
    parts[0, :4], parts[1, 4:8], parts[2, 8:] = 0.0, 0.0, 0.5
    joint = share_samples(samples, 3, parts)
    losses = torch.randn(3, 12, dtype=torch.float64)
    for i in range(3):
        expected = np.average(losses[i], weights=samples.weight * parts[i])
        mean = (joint.weight[i] * losses[i]).sum() / 3
        np.testing.assert_allclose(mean, expected)
    # No sample is copied for the models.
    assert joint.X.data_ptr() == samples.X.data_ptr()


def test_batches_of_shared_samples_are_all_samples():
    (samples,) = make_samples(lambda n: torch.randn(n, 2).double(), sizes=(12,))
    weight = samples.weight.clone()
    weight[3] = 30.0  # dealt out to several batches
    samples = replace(samples, weight=weight / weight.mean())
    parts = torch.ones(3, 12, dtype=torch.float64)
    parts[1, 3] = 0.0
    joint = share_samples(samples, 3, parts)
    torch.testing.assert_close(
        joint.row_weight[:3] / joint.row_weight[2],
        (samples.weight[:3] / samples.weight[2]),
    )
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(3, 12, dtype=torch.float64)
    for inputs, _ in SliceLoader(joint, lambda n: 4, generator):
        inputs["weight"] *= inputs["weight"].shape[1]  # a batch is a mean
        for x, w in zip(inputs["X"][0], inputs["weight"].mT, strict=True):
            row = (x == samples.X).all(dim=1).nonzero().item()
            total[:, row] += w
    torch.testing.assert_close(
        total / total.sum(dim=1, keepdim=True),
        joint.weight / joint.weight.sum(dim=1, keepdim=True),
    )
    (whole,) = SliceLoader(joint, lambda n: 100, generator)
    torch.testing.assert_close(whole[0]["weight"], joint.weight)
