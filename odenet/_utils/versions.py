"""What a report of a bug needs to know: versions, and what torch computes on."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import sklearn
import torch

from odenet._version import __version__

# What `sklearn.show_versions` does not list, by the names of the package index.
REQUIRED = ("torch", "skorch", "safetensors", "torchdiffeq", "tqdm")
OPTIONAL = ("onnx", "onnxruntime", "polars", "pyarrow", "skops")


def show_versions():
    """Print the versions of odenet and of what it uses, for a report of a bug.

    There is a part on odenet, with the packages that it needs and the optional ones,
    where None is a package that is not installed; a part on torch: its threads, the
    instructions of the processor that it uses, the version of CUDA or ROCm that it
    was built for, and the devices; and what :func:`sklearn.show_versions` prints:
    the system, numpy, scipy, pandas and other packages, and the libraries of threads.

    Examples
    --------
    >>> import odenet
    >>> odenet.show_versions()  # doctest: +ELLIPSIS
    <BLANKLINE>
    odenet:
           odenet: ...
    """
    parts = {"odenet": _packages(), "torch": _torch()}
    for title, facts in parts.items():
        print(f"\n{title}:")
        for name, fact in facts.items():
            print(f"{name:>13}: {fact}")
    sklearn.show_versions()


def _packages():
    """Return the versions of odenet and of packages, and the folder of odenet."""
    found = {name: _installed(name) for name in REQUIRED + OPTIONAL}
    folder = Path(__file__).parents[1]
    return {"odenet": __version__, "folder": folder, **found}


def _installed(name):
    """Return the version of a package, or None; it is not imported."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _torch():
    """Return what torch computes on."""
    cuda = torch.cuda
    names = [cuda.get_device_name(i) for i in range(cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return {
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "CUDA build": torch.version.cuda,
        "ROCm build": torch.version.hip,
        "devices": ", ".join(["cpu", *names]),
    }
