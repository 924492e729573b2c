"""The state of a training between two epochs, as plain data, and back.

A net that is given a state goes on, to the last bit, as the one that it was taken from.
The state is made of numbers, texts, arrays, and lists, tuples and dicts of them. All
attributes of the objects that think about a training are part of it but those listed
here, so that a new attribute cannot be forgotten.
"""

from time import perf_counter

import numpy as np
import torch
from skorch.callbacks import LRScheduler, PassthroughScoring

from odenet._training.stop_reason import StopReason

# What belongs to other objects, or is made anew in every epoch.
LEFT_OUT = {"schedule", "rule", "start", "kept", "epoch_weights", "began"}


def state_of(net):
    """Return the state of a net between two epochs, or after its training.

    Parameters
    ----------
    net : TrainingNet

    Returns
    -------
    state : dict
        A copy: the net may go on.
    """
    module, optimizer, monitor = net.module_, net.optimizer_, net.monitor
    state = {
        "weights": module.state_dict(),
        "imitated_depth": module.imitated_depth,
        "optimizer": optimizer.state_dict(),
        "position": optimizer.position() if _is_flow(optimizer) else None,
        "order": None if net.generator is None else net.generator.get_state(),
        "average": _without(net.average, "module"),
        "history": list(net.history),
        "horizon": net.horizon,
        "stop_reason": net.stop_reason,
        "monitor": _without(monitor, *LEFT_OUT),
        "rule": _of_rule(getattr(monitor, "rule", None)),
        "start": monitor.start,
        "kept": None if monitor.kept is monitor.start else monitor.kept,
        "schedule": _of_schedule(monitor.schedule),
        "callbacks": {name: _of_callback(c) for name, c in net.callbacks_},
    }
    return _arrays(state)


def restore(net, state, held_out=None):
    """Give a net the state that was taken from another one, of the same settings.

    Parameters
    ----------
    net : TrainingNet
        Its training has begun, or has not; if it has not, the state is that of an end.
    state : dict
    held_out : Samples, default=None
        The samples whose losses are part of the state of a training that goes on.
    """
    module, optimizer, monitor = net.module_, net.optimizer_, net.monitor
    state = _tensors(state, module.V.device)
    module.set_weights(state["weights"])
    module.imitated_depth = state["imitated_depth"]
    optimizer.load_state_dict(state["optimizer"])
    if state["position"] is not None:
        optimizer.go_to(state["position"])
    if net.generator is not None:
        net.generator.set_state(state["order"].cpu())
    if state["average"] is not None:
        vars(net.average).update(state["average"])
    net.history[:] = state["history"]
    net.horizon = state["horizon"]
    net.stop(_reason(state["stop_reason"]))
    vars(monitor).update(state["monitor"])
    if state["rule"] is not None and hasattr(monitor, "rule"):
        vars(monitor.rule).update(state["rule"])
        if held_out is not None and monitor.rule.kept_losses is not None:
            monitor.rule.kept_losses = held_out.own(monitor.rule.kept_losses)
    monitor.start = state["start"]
    monitor.kept = monitor.start if state["kept"] is None else state["kept"]
    if state["schedule"] is not None:
        _restore_schedule(monitor.schedule, state["schedule"])
    for name, callback in net.callbacks_:
        if state["callbacks"].get(name) is not None:
            _restore_callback(callback, state["callbacks"][name])


def _is_flow(optimizer):
    """Tell whether an optimizer follows a flow, from one point to another."""
    return hasattr(optimizer, "position")


def _without(thing, *names):
    """Return the attributes of an object but those of some names; None of None."""
    if thing is None:
        return None
    return {name: value for name, value in vars(thing).items() if name not in names}


def _of_rule(rule):
    """Return the state of a stopping rule, with the losses of all held-out samples.

    These are those of all processes: as many others may go on.
    """
    state = _without(rule, "group")
    if state is not None and state.get("kept_losses") is not None:
        state["kept_losses"] = rule.group.concat(state["kept_losses"])
    return state


def _of_schedule(schedule):
    """Return the state of a schedule of depths, with the seconds since it began."""
    if schedule is None:
        return None
    start = getattr(schedule, "start", None)
    seconds = perf_counter() - schedule.began
    return {**_without(schedule, *LEFT_OUT), "start": start, "seconds": seconds}


def _restore_schedule(schedule, state):
    """Give a schedule a state; its seconds go on from those of the state."""
    schedule.began = perf_counter() - state.pop("seconds")
    vars(schedule).update(state)
    if state.get("reason_to_stop") is not None:
        schedule.reason_to_stop = _reason(state["reason_to_stop"])


def _of_callback(callback):
    """Return the state of one of skorch's callbacks that every net may have."""
    if isinstance(callback, LRScheduler):
        scheduler = callback.lr_scheduler_
        return {"scheduler": scheduler.state_dict(), "batch_idx": callback.batch_idx_}
    if isinstance(callback, PassthroughScoring):
        return {"best_score": callback.best_score_}
    return None


def _restore_callback(callback, state):
    """Give one of skorch's callbacks a state."""
    if isinstance(callback, LRScheduler) and hasattr(callback, "lr_scheduler_"):
        callback.lr_scheduler_.load_state_dict(state["scheduler"])
        callback.batch_idx_ = state["batch_idx"]
    elif isinstance(callback, PassthroughScoring):
        callback.best_score_ = state["best_score"]


def _reason(text):
    """Return the stop reason of a text; None of None."""
    return None if text is None else StopReason(text)


def _arrays(value):
    """Copy nested data, with arrays in place of tensors."""
    if torch.is_tensor(value):
        return value.detach().cpu().numpy().copy()
    return _mapped(_arrays, value)


def _tensors(value, device):
    """Copy nested data, with tensors on a device in place of arrays."""
    if isinstance(value, np.ndarray):
        return torch.tensor(value, device=device)
    return _mapped(lambda item: _tensors(item, device), value)


def _mapped(change, value):
    """Apply a function to what is in a dict, list or tuple; return others as is."""
    if isinstance(value, dict):
        return {name: change(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(change(item) for item in value)
    return value
