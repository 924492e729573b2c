"""What a thread keeps from one gradient to the next: workspaces and CUDA graphs.

Both are memory that costs time to get and none to use again. This module is the one
owner: a training opens a scratch of its own, which is freed at its end, whatever
happens:

    with scratch():
        ...  # gradients find what earlier ones of this training have left

Outside of it, as where a network is trained by a loop of its user's, there is one
scratch a thread, which lives as long as the thread does. It stays small, since those
who leave something in it drop the oldest beyond a bound (``MAX_KEPT_BYTES`` of
:mod:`odenet._network.workspace`, ``MAX_GRAPHS`` of :mod:`odenet._network.gradients`).
"""

import threading
from collections import OrderedDict
from contextlib import contextmanager


class Scratch:
    """Memory that waits for the next gradient of one thread.

    Attributes
    ----------
    workspaces : list of Workspace
        Those that no gradient uses at present, the oldest first.
    graphs : OrderedDict
        Captured gradients by what they depend on, the oldest first.
    gradients : list of Tensor
        Gradients of weights that nobody needs any more: the system takes longer to
        supply fresh memory than the arithmetic to fill it.
    """

    def __init__(self):
        self.workspaces = []
        self.graphs = OrderedDict()
        self.gradients = []

    def leave_gradients(self, *parameters):
        """Take the gradients away from parameters, as memory for the next ones.

        On the CPU: other devices' allocators keep memory themselves, and the results of
        a captured graph lie where its next replay writes them.
        """
        if all(p.device.type == "cpu" for p in parameters):
            self.gradients = [p.grad for p in parameters]
        for p in parameters:
            p.grad = None

    def take_gradients(self, *parameters):
        """Return memory for the gradients of parameters; None where none was left."""
        left, self.gradients = self.gradients, []
        fits = len(left) == len(parameters) and all(
            grad is not None and (grad.shape, grad.dtype, grad.device) == _like(p)
            for grad, p in zip(left, parameters, strict=True)
        )
        return left if fits else None

    def free(self):
        """Let go of everything."""
        self.workspaces.clear()
        self.graphs.clear()
        self.gradients.clear()


def _like(p):
    """Return what memory for the gradient of a parameter must agree in."""
    return p.shape, p.dtype, p.device


class _OfThread(threading.local):
    """Hold the scratches of one thread; the last one, opened latest, is in use."""

    def __init__(self):
        self.opened = [Scratch()]


_of_thread = _OfThread()


def current_scratch():
    """Return the scratch that this thread uses now."""
    return _of_thread.opened[-1]


@contextmanager
def scratch():
    """Use a new scratch in this thread, and free it at the end.

    One may be opened inside another, as by a callback that fits an estimator of its
    own: what the outer one keeps is there again afterwards.
    """
    opened = Scratch()
    _of_thread.opened.append(opened)
    try:
        yield opened
    finally:
        _of_thread.opened.remove(opened)
        opened.free()
