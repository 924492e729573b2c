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
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _umask():
    """The permissions that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
