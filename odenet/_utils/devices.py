"""Devices, number formats and threads."""

import warnings
from contextlib import contextmanager

import torch

THREADING_PAYS = 3_000_000


def resolve_device(device):
    """The torch device behind a name; "auto" is CUDA where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(1, device=resolved).item()  # the device "meta" has no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"`device` must be 'auto' or a device that torch finds here, "
            f"got {device!r}: {error}"
        ) from error
    return resolved


def resolve_device_or_cpu(device):
    """As :func:`resolve_device`, with a warning and the CPU where it is missing."""
    try:
        return resolve_device(device)
    except ValueError:
        warnings.warn(
            f"The device {device!r} of this model is not available here, but the CPU.",
            UserWarning,
            stacklevel=2,
        )
        return torch.device("cpu")


def evaluation_dtype(device):
    """float64 where the device has it: then no prediction depends on its batch."""
    return torch.float32 if device.type == "mps" else torch.float64


def to_numpy(tensor):
    """A tensor of any device and dtype as an array of float64."""
    return tensor.detach().cpu().double().numpy()


@contextmanager
def torch_threads(multiplications):
    """One thread for thin layers, on which more threads lose; never more than before.

    Parameters
    ----------
    multiplications : int
        Multiplications in one matrix product of one layer.
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
