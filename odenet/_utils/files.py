"""Files that are written as a whole, or not at all."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path):
    """Give a path to write to; at the end the new file takes the place of the old one.

    If an error is raised, the file that was there stays as it was. The new file lies in
    the same folder, because only within one file system is a replacement atomic.

    Parameters
    ----------
    path : str or path-like
        The file to replace. A symbolic link stays; the file that it leads to changes.

    Yields
    ------
    part : Path
    """
    path = Path(path).resolve()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent} to write to.")
    # mkstemp lets nobody but the owner read; a user expects what open() would give.
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
    """Return the permissions that new files lack; only setting the mask reads it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
