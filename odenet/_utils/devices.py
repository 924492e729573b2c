"""Devices, types of numbers, and threads."""

import os
import threading
import warnings
from contextlib import contextmanager
from functools import partial

import torch

# The fewest multiplications in one matrix product with which several threads are worth
# their risk. Alone on two cores, gelu(x @ W) @ V is 1.35 times as fast with two threads
# at 0.5 million multiplications, 1.7 times at 2 million and 1.8 times at 4 million.
# But while other processes are busy, a gradient of 0.1 to 0.5 million took 4 to 6 times
# as long with two threads as with one, because each waits for the other at every
# product. The value is a choice on the safe side of both, not derived.
THREADING_PAYS = 3_000_000
# The threads of OpenMP do not survive a fork, and a process that was forked from one
# with several would wait for them for ever. torch's own data loaders do the same.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def resolve_device(device):
    """Return the torch device of a name; "auto" is CUDA if there is one, else the CPU.

    Raises
    ------
    ValueError
        If torch finds no such device, or if the device cannot hold numbers.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        # torch.device accepts any index: only a tensor shows whether there is such a
        # device, and only a value whether it holds numbers, as "meta" does not.
        torch.empty(1, device=resolved).item()
    except Exception as error:  # torch raises whatever its backends do, imports too
        raise ValueError(
            f"`device` must be 'auto' or a device that torch finds here, "
            f"got {device!r}: {error}"
        ) from error
    return resolved


def training_device(device, dtype):
    """Return the torch device to train on, if it has the dtype."""
    resolved = resolve_device(device)
    if resolved.type == "mps" and dtype == "float64":
        raise ValueError("`dtype` must be 'float32' on the device 'mps'.")
    return resolved


def resolve_device_or_cpu(device):
    """Return the torch device of a name, or warn and return the CPU without it."""
    try:
        return resolve_device(device)
    except ValueError:
        warnings.warn(
            f"The device {device!r} of this model is not available here; "
            "the CPU is used.",
            UserWarning,
            stacklevel=2,
        )
        return torch.device("cpu")


def evaluation_dtype(device):
    """Return the type of numbers for predictions and diagnostics: float64 if possible.

    In float64 a prediction does not depend on the samples that are in the same batch.
    Apple's devices have only float32.
    """
    return torch.float32 if device.type == "mps" else torch.float64


def to_numpy(tensor):
    """Return a tensor of any device and type as an array of float64."""
    return tensor.detach().cpu().double().numpy()


@contextmanager
def torch_threads(multiplications):
    """Compute with one thread if more would be slower, and restore the number after.

    The number of threads is never raised, since the user may have lowered it on
    purpose. Only the thread that calls is concerned.

    Parameters
    ----------
    multiplications : int
        The multiplications in one matrix product of a layer: n q m for n samples.
    """
    before = torch.get_num_threads()
    if before == 1 or multiplications >= THREADING_PAYS:
        yield
        return
    usual = _set_own_threads(1)
    try:
        yield
    finally:
        if usual == before:  # which is then set for the other threads as well
            torch.set_num_threads(before)
        else:
            _set_own_threads(before)


def _set_own_threads(n):
    """Set the number of threads that torch uses for what this thread computes.

    torch sets it for this thread, and for all that have not computed anything yet: they
    would keep it for good. Another thread sets theirs back at once.

    Returns
    -------
    usual : int
        The number for threads that have not computed anything yet.
    """
    usual, was_read, was_set = [], threading.Event(), threading.Event()

    def set_back():
        usual.append(torch.get_num_threads())
        was_read.set()
        was_set.wait()
        torch.set_num_threads(*usual)

    other = threading.Thread(target=set_back, daemon=True)
    other.start()
    was_read.wait()
    try:
        torch.set_num_threads(n)
    finally:
        was_set.set()
        other.join()
    return usual[0]


@contextmanager
def tiny_numbers_as_zeros():
    """Let the processor take numbers below the smallest usual one as 0, here alone.

    Numbers below 1.2e-38 in float32 (2.2e-308 in float64) have fewer digits, and an
    operation that meets one takes many times as long. The derivative of a GELU far to
    the left is such a number, and so are products with it. Trainings of classes took
    0.55 to 0.84 times the seconds without them, and those of numbers 0.98 times, with
    the same scores (``benchmarks/tiny_numbers.py``).

    It concerns the thread that calls, and only while torch computes with that one
    alone: threads that torch begins meanwhile would keep the mode for good. Processors
    that have no such mode stay as they are.
    """
    if torch.get_num_threads() > 1 or _takes_tiny_numbers_as_zeros():
        yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _takes_tiny_numbers_as_zeros():
    """Tell whether this thread has the mode already, which torch has no function for.

    A product of tensors is asked, and not one of Python's numbers, which are float64.
    """
    smallest = torch.tensor(
        torch.finfo(torch.float32).tiny, dtype=torch.float32, device="cpu"
    )
    return bool(smallest * 0.5 == 0)
