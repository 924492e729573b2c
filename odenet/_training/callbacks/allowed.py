"""Which callbacks of skorch a training takes; docs/callbacks.md is the table."""

from skorch.callbacks import Callback

# Callbacks of skorch that cannot do what they are for, and why.
NOT_FOR_ANY = {
    "InputShapeSetter": "the network has the shape of the encoded table as it is",
}
NOT_FOR_FLOWS = {
    **NOT_FOR_ANY,
    "LRScheduler": "a flow has no learning rate, its steps follow an error estimate or "
    "have the length that the solver says",
    "WarmRestartLR": "a flow has no learning rate to restart",
    "GradientNormClipping": "the flow of clipped gradients is another flow; one that "
    "the theory knows is followed with the solver's `clip`",
}


def check_callbacks(callbacks, solver):
    """Raise for what skorch cannot call, and for what would do nothing or harm."""
    for given in callbacks or ():
        callback = callback_of(given)
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise ValueError(
                "`callbacks` must hold callbacks of skorch, which derive from "
                f"skorch.callbacks.Callback, or pairs of a name and one; got {given!r}."
            )
        refused = NOT_FOR_FLOWS if solver.follows_flow else NOT_FOR_ANY
        for name in {c.__name__ for c in kind.__mro__} & set(refused):
            raise ValueError(f"`callbacks` must not hold {name}: {refused[name]}.")


def callback_of(given):
    """Return the callback of a pair of a name and one, or what is no such pair."""
    return given[1] if isinstance(given, tuple) and len(given) == 2 else given


def only_watches(callback):
    """Tell whether a callback of the user only watches, and changes no training."""
    return getattr(callback, "only_watches", False)
