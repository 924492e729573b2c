"""Devices, number formats and threads."""

import warnings
from contextlib import contextmanager

import torch

# Multiplications of one product from which two threads are worth their risk. Alone on
# two cores, gelu(x @ W) @ V gains from 0.5 million on (1.35 times as fast, 1.7 times at
# 2 million, 1.8 at 4). Where other processes are busy, a gradient of 0.1 to 0.5 million
# took 4 to 6 times as long with two threads as with one, for each waits for the other
# at every product. The value between these was chosen on the safe side, not derived.
THREADING_PAYS = 3_000_000


def resolve_device(device):
    """Return the torch device of a name; "auto" is CUDA if there is a GPU, or the CPU.

    Raises
    ------
    ValueError
        If torch finds no such device, or if it cannot hold numbers.
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


def resolve_device_or_cpu(device):
    """Return the torch device of a name; if it is missing, warn and return the CPU."""
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
    """Return float64, in which no prediction depends on its batch, or what is there.

    Apple's devices have no float64.
    """
    return torch.float32 if device.type == "mps" else torch.float64


def to_numpy(tensor):
    """Return a tensor of any device and dtype as an array of float64."""
    return tensor.detach().cpu().double().numpy()


@contextmanager
def torch_threads(multiplications):
    """Compute with one thread where more threads lose, and restore the number after.

    The number of threads is never raised: whoever runs several processes has set it.

    Parameters
    ----------
    multiplications : int
        The multiplications in one matrix product of one layer: n q m of n samples.
    """
    before = torch.get_num_threads()
    if before == 1 or multiplications >= THREADING_PAYS:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
