"""Files that are written as a whole, or not at all."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path):
    """A path to write to; the file takes the place of the other after the context.

    If an error is raised, what was there before stays as it is.
    """
    path = Path(path).resolve()  # where a link leads to
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent} to write to.")
    mode = path.stat().st_mode if path.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(mode)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _umask():
    """The permissions that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
