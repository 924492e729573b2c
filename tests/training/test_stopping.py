"""The rule of stopping, as a table of what it sees and what it says."""

from math import inf, nan

import pytest
import torch

from odenet._training.stop_reason import StopReason
from odenet._training.stopping import (
    MIN_WAIT,
    PATIENCE,
    SETTLED_TIME,
    Observation,
    StoppingRule,
    cost_of,
    exceeds,
)


def seen(epoch=1, train_loss=1.0, **settings):
    return Observation(epoch=epoch, train_loss=train_loss, **settings)


def begun(start_loss=10.0, cost=inf, epoch=0, flow_time=0.0, losses=None, **settings):
    rule = StoppingRule(**settings)
    rule.begin(start_loss, cost, epoch, flow_time, losses)
    return rule


def held_out(loss, n=100, spread=0.0):
    """Losses of n samples, and the other fields of held-out samples."""
    losses = torch.full((n,), float(loss)) + spread * torch.linspace(-1, 1, n)
    return {
        "valid_loss": losses.mean().item(),
        "valid_losses": losses,
        "valid_weight": torch.ones(n),
    }


def test_verdict_without_held_out_samples():
    for settings, observation, reason in [
        ({}, {"flow_time": 0.5}, None),
        ({}, {"flow_time": 1.0}, StopReason.HORIZON),
        ({}, {"flow_time": 0.5, "train_loss": nan}, StopReason.DIVERGED),
        ({}, {"flow_time": 1.0, "train_loss": inf}, StopReason.DIVERGED),
        ({}, {"flow_time": 0.5, "diverged": True}, StopReason.DIVERGED),
        ({}, {"flow_time": 0.5, "stalled": True}, StopReason.STATIONARY),
        ({}, {"flow_time": 0.5, "train_loss": 1e-16}, StopReason.STATIONARY),
        (
            {"rounding": 1e-7},
            {"flow_time": 0.5, "train_loss": 9e-7},
            StopReason.STATIONARY,
        ),
        ({"rounding": 1e-7}, {"flow_time": 0.5, "train_loss": 2e-6}, None),
        ({"max_evals": 7}, {"flow_time": 0.5, "n_evals": 6}, None),
        ({"max_evals": 7}, {"flow_time": 0.5, "n_evals": 7}, StopReason.MAX_EVALS),
        ({"max_evals": 7}, {"flow_time": 1.0, "n_evals": 7}, StopReason.HORIZON),
        ({"follows_flow": False}, {"stalled": True}, None),
        ({"follows_flow": False}, {"train_loss": nan}, StopReason.DIVERGED),
    ]:
        rule = begun(**settings)
        assert rule.verdict(seen(**observation), horizon=1.0) is reason


@pytest.mark.parametrize(
    ("loss", "reason"),
    [(1.0, StopReason.STATIONARY), (0.9, None), (1.1, None)],
)
def test_a_loss_that_rises_is_not_stationary(loss, reason):
    """As that of gradient descent does whose steps are too long."""
    rule = begun()
    assert rule.verdict(seen(train_loss=1.0, flow_time=20.0)) is None
    assert rule.verdict(seen(2, train_loss=loss, flow_time=40.0)) is reason
    last = seen(3, train_loss=loss, flow_time=80.0)
    assert rule.verdict(last) is StopReason.STATIONARY


def test_nothing_is_stationary_early_or_after_a_change_of_depth():
    rule = begun()
    times = 0.5 * SETTLED_TIME, 0.9 * SETTLED_TIME, 1.1 * SETTLED_TIME
    assert [rule.verdict(seen(flow_time=t)) for t in times] == [None] * 3
    rule.forget_flatness()
    assert rule.verdict(seen(flow_time=100.0)) is None
    assert rule.verdict(seen(flow_time=200.0)) is StopReason.STATIONARY


def rising(rule, epoch, flow_time):
    """Show the rule a held-out loss that has risen, and return what it says."""
    observation = seen(epoch, train_loss=1 / epoch, flow_time=flow_time, **held_out(2))
    rule.observe(observation)
    return rule.verdict(observation)


def test_a_flow_stops_when_the_held_out_loss_has_risen_for_long():
    """Not before SETTLED_TIME, nor PATIENCE times that of the lowest, nor MIN_WAIT."""
    lowest = 5.0
    early, late = 0.99 * PATIENCE * lowest, 1.01 * PATIENCE * lowest
    assert early > SETTLED_TIME
    rule = begun(early_stopping=True)
    assert rule.observe(seen(1, flow_time=lowest, **held_out(1)))
    assert rising(rule, MIN_WAIT, late) is None
    assert rising(rule, MIN_WAIT + 1, early) is None
    assert rising(rule, MIN_WAIT + 2, late) is StopReason.EARLY_STOPPING


def test_a_flow_is_not_stopped_before_it_has_settled():
    rule = begun(early_stopping=True)
    rule.observe(seen(1, flow_time=0.1, **held_out(1)))
    assert rising(rule, 50, 0.99 * SETTLED_TIME) is None
    assert rising(rule, 51, 1.01 * SETTLED_TIME) is StopReason.EARLY_STOPPING


def test_a_rise_within_the_noise_does_not_stop_a_flow():
    rule = begun(early_stopping=True)
    rule.observe(seen(1, flow_time=1.0, **held_out(1)))
    noisy = seen(50, flow_time=50.0, **held_out(1.01, spread=1.0))
    rule.observe(noisy)
    assert rule.verdict(noisy) is None
    plain = seen(51, flow_time=51.0, **held_out(1.01))
    assert rule.verdict(plain) is StopReason.EARLY_STOPPING


def test_weights_of_a_flow_are_kept_until_others_are_better_beyond_noise():
    rule = begun(early_stopping=True)
    assert rule.observe(seen(1, flow_time=1.0, **held_out(1)))
    assert not rule.observe(seen(2, flow_time=2.0, **held_out(0.99, spread=1.0)))
    assert rule.observe(seen(3, flow_time=3.0, **held_out(0.9)))


def test_without_early_stopping_the_lowest_training_loss_is_kept():
    rule = begun(cost=2.0)
    assert not rule.observe(seen(1, train_loss=2.5, flow_time=1.0))
    assert rule.observe(seen(2, train_loss=1.5, flow_time=2.0))
    assert not rule.observe(seen(3, train_loss=1.5, flow_time=3.0))


def mini_batches(loss, **settings):
    losses = torch.full((100,), float(loss))
    settings = {"early_stopping": True, "follows_flow": False, **settings}
    return begun(cost=float(loss), losses=losses, **settings)


def test_mini_batches_wait_for_a_number_of_epochs():
    """At least their patience, and half as many epochs as the lowest loss took."""
    for lowest, last in ((2, 6), (20, 30)):
        rule = mini_batches(5, patience=4)
        assert rule.observe(seen(lowest, **held_out(1)))
        early, late = (seen(epoch, **held_out(2)) for epoch in (last - 1, last))
        assert not rule.observe(early)
        assert rule.verdict(early) is None
        assert rule.verdict(late) is StopReason.EARLY_STOPPING


def test_a_depth_with_a_share_of_the_epochs_has_a_share_of_the_patience():
    rule = mini_batches(1, patience=20)
    worse = seen(5, **held_out(2))
    rule.observe(worse)
    assert rule.verdict(worse, share_of_patience=0.5) is None
    assert rule.verdict(worse, share_of_patience=0.25) is StopReason.EARLY_STOPPING


def test_judging_anew_forgets_what_was_lowest():
    rule = mini_batches(1, patience=3)
    rule.begin_anew(3.0, 10, None, torch.full((100,), 3.0))
    assert rule.observe(seen(11, **held_out(2)))
    assert rule.verdict(seen(13, **held_out(2.5))) is None
    assert rule.verdict(seen(14, **held_out(2.5))) is StopReason.EARLY_STOPPING


def test_differences_are_paired_and_weighted():
    losses, ones = torch.linspace(0, 10, 50), torch.ones(50)
    assert exceeds(losses + 0.01, losses, ones)
    assert not exceeds(losses, losses + 0.01, ones)
    assert not exceeds(losses, losses, ones)
    noise = torch.tensor([1.0, -0.9] * 25)
    assert not exceeds(losses + noise, losses, ones)
    assert exceeds(losses + noise, losses, torch.tensor([1.0, 1e-9] * 25))
    two = torch.tensor([1.0, 1.0, *[1e-9] * 48])  # as many as count for the noise
    noise = torch.tensor([1.0, -0.4] * 25)
    assert not exceeds(losses + noise, losses, two)


def test_a_heavy_sample_stands_for_several_in_the_noise():
    """A sample of weight 900 that has not changed leaves the trend of 90 others."""
    losses = torch.linspace(1, 2, 91)
    rise = torch.tensor([0.0] + [0.5, 0.3] * 45)
    weight = torch.tensor([900.0] + [1.0] * 90)
    assert exceeds(losses + rise, losses, weight)
    noise = torch.tensor([0.0] + [0.5, -0.49] * 45)
    assert not exceeds(losses + noise, losses, weight)


def test_the_standard_error_is_that_of_a_weighted_mean(rng):
    """The mean exceeds it in one of six cases where there is no difference at all."""
    n_exceeding = 0
    for _ in range(1000):
        difference = torch.tensor(rng.normal(size=40))
        n_exceeding += exceeds(difference, torch.zeros(40), torch.ones(40))
    assert 120 < n_exceeding < 200


def test_the_lowest_loss_of_folds_decides_by_whatever_margin():
    """A part that is held out needs more than its noise; so do folds to end."""
    noisy = torch.tensor([0.0, 2.0] * 20)
    weight = torch.ones(40)

    def kept(on_folds):
        rule = StoppingRule(early_stopping=True, on_folds=on_folds)
        rule.begin(1.0, inf, 0, 0.0)
        better = []
        for epoch, shift in enumerate((0.0, 0.05, -0.1), start=1):
            losses = noisy.roll(epoch) - shift
            seen = Observation(
                epoch=epoch,
                train_loss=1 / epoch,
                valid_loss=losses.mean().item(),
                valid_losses=losses,
                valid_weight=weight,
                flow_time=float(epoch),
            )
            better.append(rule.observe(seen))
        return better

    assert kept(on_folds=True) == [True, True, False]
    assert kept(on_folds=False) == [True, False, False]


def test_a_greater_score_is_a_lower_cost_and_the_loss_tells_equal_ones_apart():
    ordered = [(0.1, 0.9), (0.2, 0.9), (0.1, 0.8), (inf, -inf)]  # (loss, score)
    costs = [cost_of(*pair) for pair in ordered]
    assert costs == sorted(costs)
    assert cost_of(0.3) == 0.3


def scored(epoch, score, loss, flow_time=None):
    return seen(epoch, score=score, flow_time=flow_time, **held_out(loss))


def test_the_weights_of_the_greatest_score_are_kept_without_a_margin():
    for settings in ({}, {"follows_flow": False}, {"on_folds": True}):
        rule = begun(early_stopping=True, cost=cost_of(inf, -inf), **settings)
        kept = [
            rule.observe(scored(i, *pair, float(i)))
            for i, pair in enumerate([(0.8, 1), (0.9, 2), (0.9, 1.9), (0.9, 1.9)], 1)
        ]
        assert kept == [True, True, True, False]
        assert not rule.observe(scored(5, 0.89, 0.1, 5.0))


def test_a_score_that_rests_waits_for_the_loss():
    """Neither must have become better for as long as a training is patient."""
    patient = {"early_stopping": True, "follows_flow": False, "patience": 3}
    rule = begun(cost=cost_of(inf, -inf), **patient)
    verdicts = []
    for epoch, loss in enumerate([5, 4, 3, 2, 2, 2, 2], 1):
        observation = scored(epoch, 0.9 if epoch == 1 else 0.8, loss)
        rule.observe(observation)
        verdicts.append(rule.verdict(observation))
    assert verdicts == [None] * 6 + [StopReason.EARLY_STOPPING]
    flow = begun(early_stopping=True, cost=cost_of(inf, -inf))
    for epoch, flow_time, loss, reason in [
        (1, 1.0, 2.0, None),
        (2, 5.0, 1.0, None),
        (MIN_WAIT + 1, 1.1 * PATIENCE * 5, 1.0, None),
        (MIN_WAIT + 2, 0.9 * PATIENCE * 5, 1.0, None),
        (MIN_WAIT + 3, 1.1 * PATIENCE * 5, 1.0, StopReason.EARLY_STOPPING),
    ]:
        observation = scored(epoch, 0.9 if epoch == 1 else 0.8, loss, flow_time)
        flow.observe(observation)
        assert flow.verdict(observation) is reason
