"""One fit: a training, and a second one if the first has only chosen a flow time."""

import copy
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter

from odenet._distributed.group import ALONE
from odenet._network.model_axis import join_networks, network_at
from odenet._network.scratch import scratch
from odenet._training.callbacks.allowed import check_callbacks, only_watches
from odenet._training.callbacks.progress_bar import ProgressBar
from odenet._training.depth.along_flow import FlowSchedule
from odenet._training.depth.in_stages import StagedSchedule
from odenet._training.many_networks import (
    join_samples,
    joint_plan,
    share_samples,
)
from odenet._training.monitor import Monitor
from odenet._training.net import NO_MODEL_IS_LEFT, TrainingNet
from odenet._training.plan import Outcome, Progress
from odenet._training.stop_reason import StopReason
from odenet._utils.devices import tiny_numbers_as_zeros, torch_threads


def train(network, data, plan):
    """Train a network, in place, as a plan says.

    If held-out samples have chosen a flow time, the flow is followed once more: from
    the same start, to the flow time chosen, and on all samples. Networks along an axis
    of models are trained as one; if there are folds, each on the samples of its own.

    Parameters
    ----------
    network : nn.Module
    data : TrainingData
    plan : Plan

    Returns
    -------
    outcome : Outcome
    """
    n_samples = plan.group.sum(len(data.samples))
    task = plan.loss, n_samples, network.head.shape[-2], plan.flow_time
    plan = replace(plan, solver=plan.solver.settled(*task))
    samples = data.samples
    if (n_members := network.n_models) > 1:
        samples = share_samples(samples, n_members)
        data, plan = _for_members(data, samples, plan)
    training = _Training(network, plan, on_folds=data.shares is not None)
    way = _fit_by_folds if data.folds else _fit_by_a_part
    outcome = way(training, data, copy.deepcopy(network.state_dict()))
    outcome.net.monitor.schedule = None  # it holds the weights of the start
    loss = outcome.net.objective(samples) / n_members
    outcome.net.group = ALONE  # what is done with it later concerns no other process
    return replace(outcome, loss=loss)


def _for_members(data, shared, plan):
    """Return data and plan by which members are trained as one network is.

    Members that hold out samples of their own do so for good: what they do not hold out
    is all that they are trained on. Of a flow, each has its own samples and no others.
    Mini-batches are the same for all, and a member gives no weight to the samples that
    it holds out: copies of the data would cost more memory.

    Parameters
    ----------
    data : TrainingData
    shared : JointSamples
        All samples, for every member.
    plan : Plan
    """
    n_members, samples, held_out = len(shared), data.samples, data.held_out
    train = data.train
    if data.shares is not None:
        held_out = join_samples([samples.shared_out(part) for part in data.shares])
        kept = 1 - data.shares
        if plan.solver.follows_flow:
            shared = join_samples([samples.shared_out(part) for part in kept])
        else:
            shared = share_samples(samples, n_members, kept)
    elif held_out is not None:
        held_out = share_samples(held_out, n_members)
        train = None if train is None else share_samples(train, n_members)
    data = replace(data, samples=shared, train=train, held_out=held_out)
    return data, joint_plan(plan, n_members)


def sweep(network, samples, horizon, plan):
    """Follow a flow up to a horizon, so that the observer of the plan sees its steps.

    Returns
    -------
    outcome : Outcome
    """
    return _Training(network, plan).run(samples, None, horizon, only_chooses=True)


class _Training:
    """The trainings of one fit, which share a network and a path of depths."""

    def __init__(self, network, plan, began=None, *, on_folds=False):
        self.on_folds = on_folds
        self.network = network
        self.plan = plan
        self.began = perf_counter() if began is None else began
        self.depth_path = [] if plan.past is None else list(plan.past.depth_path)

    def run(
        self,
        samples,
        held_out,
        horizon,
        *,
        early_stopping=False,
        only_chooses=False,
        past=None,
        callbacks=None,
    ):
        """Train on samples, up to a horizon, and return the outcome.

        ``past`` and ``callbacks`` replace those of the plan.
        """
        plan = self.plan
        past = past or plan.past
        if callbacks is not None:
            plan = replace(plan, callbacks=callbacks)
        schedule = self._schedule(only_chooses)
        net = make_net(
            self.network,
            plan,
            monitor=Monitor(early_stopping, schedule, on_folds=self.on_folds),
            metric=plan.metric,
            horizon=horizon,
            recorder=plan.recorder,
        )
        if past is not None:
            net.resume(past)
        with net.observed_by(plan.observer):
            if net.recorder is None:
                run_net(net, samples, held_out)
            elif not net.recorder.recall(net):
                run_net(net, samples, held_out)
                net.recorder.see_end(net)
        _check_not_interrupted(net, plan.group)
        net.recorder = None  # it holds the states of all trainings of the fit
        net.metric = None  # it holds samples
        if schedule is not None:
            self.depth_path += schedule.path
        notices = () if schedule is None else tuple(schedule.notices)
        return Outcome(self.network, net, self.depth_path, net.stop_reason, notices)

    def _schedule(self, only_chooses):
        """Return the schedule of depths, or None if the depth is to stay as it is."""
        plan = self.plan
        if plan.past is not None and len(plan.depths) == 1:
            return None
        kind = FlowSchedule if plan.solver.follows_flow else StagedSchedule
        return kind(
            plan.depths,
            gap_tol=plan.gap_tol,
            only_chooses=only_chooses,
            began=self.began,
        )


def _fit_by_a_part(training, data, start):
    """Train, judged by the samples that are held out, if there are any.

    If they have chosen a flow time, the flow is followed again, unless it is all done.
    """
    plan, network = training.plan, training.network
    chooses = data.held_out is not None and plan.early_stopping
    outcome = training.run(
        data.samples if data.train is None else data.train,
        data.held_out,
        plan.horizon(judged=chooses, n_samples=data.n_judges),
        early_stopping=chooses,
        only_chooses=chooses and plan.solver.follows_flow,
    )
    again = data.train is not None or len(plan.depths) > 1
    if not again or not outcome.net.has_chosen_flow_time:
        return outcome
    ended = copy.deepcopy(network.state_dict())
    return _follow_to_the_chosen_time(training, outcome, data.samples, start, ended)


def _fit_by_folds(training, data, start):
    """Choose a flow time on folds, and follow the flow of all samples up to it.

    If not even a first step could be judged, the network is that of the first fold.
    """
    chosen = _choose_on_folds(training, data.folds)
    _check_not_interrupted(chosen.net, training.plan.group)
    training.depth_path += chosen.depth_path
    if chosen.net.flow_time and chosen.stop_reason is not StopReason.INTERRUPTED:
        ended = network_at(chosen.network, 0).state_dict()
        return _follow_to_the_chosen_time(training, chosen, data.samples, start, ended)
    network = training.network
    network.set_weights(network_at(chosen.network, 0).state_dict())
    net = restored_net(network, replace(training.plan, past=chosen.net.progress))
    return replace(chosen, network=network, net=net)


def _choose_on_folds(training, folds):
    """Follow the flows of copies of a network, one for each fold, as a single flow.

    The held-out samples of all folds judge it together. The callbacks of the plan are
    left to the training that fits the model. Each of several processes has all folds,
    which are small, and does the same.

    Returns
    -------
    outcome : Outcome
        Of the joined copies.
    """
    plan = training.plan
    joint = joint_plan(
        replace(plan, callbacks=(), observer=None, group=ALONE), len(folds)
    )
    train, held_out = (join_samples(part) for part in zip(*folds, strict=True))
    n_samples = sum(len(part) for _, part in folds)
    network = join_networks([training.network] * len(folds))
    return _Training(network, joint, began=training.began, on_folds=True).run(
        train,
        held_out,
        plan.horizon(judged=True, n_samples=n_samples),
        early_stopping=True,
        only_chooses=True,
    )


def _follow_to_the_chosen_time(training, chosen, samples, start, ended):
    """Follow the flow from the start again, on all samples, to the flow time chosen.

    Parameters
    ----------
    training : _Training
    chosen : Outcome
        The outcome of the training that chose the flow time.
    samples : Samples
        All samples.
    start : dict
        The weights at the start.
    ended : dict
        The weights from the end of the first training, or of its first fold, which the
        network gets if the second training fails.

    Returns
    -------
    outcome : Outcome
    """
    plan, network = training.plan, training.network
    history = list(chosen.net.history)
    # The rows of this fit so far belong to the training that only chose the flow time.
    for row in history[len(plan.past.history) if plan.past else 0 :]:
        row["role"] = "choose"
    network.set_weights(start)
    evals, flow_time = chosen.net.n_grad_evals, chosen.net.flow_time
    callbacks = plan.callbacks
    if chosen.network is network:  # they have acted while the flow time was chosen
        callbacks = [c for c in callbacks if only_watches(c)]
    outcome = training.run(
        samples,
        None,
        flow_time,
        past=Progress(history, plan.flow_time_before, evals),
        callbacks=callbacks,
    )
    if outcome.stop_reason is StopReason.HORIZON:
        return replace(outcome, stop_reason=chosen.reason_for_its_flow_time)
    if outcome.stop_reason.advice:
        schedule = outcome.net.monitor.schedule
        if schedule is not None:
            ended = schedule.weights_at(ended, network.depth)
        network.set_weights(ended)
        outcome.net.monitor.flow_time = flow_time
    return outcome


def _check_not_interrupted(net, group):
    """Raise if a net was interrupted that several processes were to have alike."""
    if group.size > 1 and net.stop_reason is StopReason.INTERRUPTED:
        raise RuntimeError(NO_MODEL_IS_LEFT)


def make_net(network, plan, **settings):
    """Make a net that trains a network as a plan says.

    ``settings`` are further parameters of TrainingNet.

    Returns
    -------
    net : TrainingNet
    """
    return (plan.net_class or TrainingNet)(
        network,
        plan.loss,
        plan.solver,
        alpha=plan.alpha,
        smoothness_penalty=plan.smoothness_penalty,
        generator=plan.generator,
        augmentation=plan.augmentation,
        callbacks=_callbacks_of(plan),
        group=plan.group,
        **settings,
    ).initialize()


def _callbacks_of(plan):
    """Return the callbacks that a plan asks for, in a list, if they are allowed."""
    check_callbacks(plan.callbacks, plan.solver)
    shows = plan.shows_progress and plan.group.rank == 0
    return [*plan.callbacks, *([ProgressBar()] if shows else [])]


def _has_callbacks_of(net, plan):
    """Tell whether a net has the callbacks that a plan asks for."""
    of_user = [c for c in net.callbacks if not isinstance(c, ProgressBar)]
    shows_progress = len(of_user) < len(net.callbacks)
    return of_user == list(plan.callbacks) and shows_progress == plan.shows_progress


def run_net(net, samples, held_out=None):
    """Let a net train its network on samples, with one thread where more are slower.

    The buffers of the gradients are kept during the training, and freed at its end.
    """
    network = net.module_
    n_rows = len(samples.row_weight)
    n_rows = min(n_rows, net.solver.rows_of_a_batch(n_rows))
    try:
        n_products = n_rows * network.n_models * network.state_dim * network.width
        with scratch(), torch_threads(n_products), tiny_numbers_as_zeros():
            net.partial_fit((samples, held_out))
    finally:
        network.eval()
        network.zero_grad(set_to_none=True)


def restored_net(network, plan):
    """Make a net as if it had trained a network, with the history of the plan's past.

    Returns
    -------
    net : TrainingNet
    """
    if network.has_models_axis:
        plan = joint_plan(plan, network.n_models)
    net = make_net(network, replace(plan, callbacks=(), shows_progress=False))
    net.resume(plan.past)
    return net


def train_on_part(network, samples, plan, net=None):
    """Train for one pass over a part of a stream.

    Parameters
    ----------
    network : nn.Module
        Trained in place.
    samples : Samples
    plan : Plan
    net : TrainingNet, default=None
        The net of the part before. It goes on, with its optimizer and its own copy of
        the network, if it trains on parts and its settings are those of the plan.

    Returns
    -------
    outcome : Outcome
    """
    if network.has_models_axis:
        plan = joint_plan(plan, network.n_models)
        samples = share_samples(samples, network.n_models)
    if net is None or not _can_go_on(net, network, plan):
        net = make_net(network, plan, max_epochs=1)
        if plan.past is not None:
            net.resume(plan.past)
    net.loss = plan.loss
    if not _has_callbacks_of(net, plan):
        net.callbacks = _callbacks_of(plan)
        net.initialize_callbacks()
    with _leaving_no_trace(net):
        run_net(net, samples)
    path = [] if plan.past is None else plan.past.depth_path
    return Outcome(net.module_, net, path, net.stop_reason)


@contextmanager
def _leaving_no_trace(net):
    """Take back all that a net has learnt and recorded, if an error is raised."""
    before = copy.deepcopy((net.module_.state_dict(), net.optimizer_.state_dict()))
    order, n_rows = net.generator.get_state(), len(net.history)
    try:
        yield
    except BaseException:
        weights, steps = before
        net.module_.set_weights(weights)
        net.optimizer_.load_state_dict(steps)
        net.generator.set_state(order)
        del net.history[n_rows:]
        net.average = None
        raise


def _can_go_on(net, network, plan):
    """Tell whether a net trains on parts, with the settings of a plan."""
    mine, asked = net.module_, network
    return (
        net.trains_on_parts
        and (repr(net.solver), net.alpha, net.smoothness_penalty, net.augmentation)
        == (repr(plan.solver), plan.alpha, plan.smoothness_penalty, plan.augmentation)
        and (mine.V.device, mine.backward) == (asked.V.device, asked.backward)
    )
