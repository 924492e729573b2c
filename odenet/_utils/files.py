"""Files that are written as a whole, or not at all."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path):
    """Yield a path to write to, and put the new file in place of the old one.

    If an error is raised, the file that was there stays as it was. The new file lies in
    the same folder, because only within one file system is a replacement atomic.

    Parameters
    ----------
    path : str or path-like
        The file to replace. If it is a symbolic link, the file behind it is replaced.

    Yields
    ------
    part : Path
        The path of the new file.
    """
    path = Path(path).resolve()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent} to write to.")
    # mkstemp lets nobody but the owner read, but a user expects the permissions that
    # open() would give: reading and writing for all, except what the mask takes away.
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
    """Return the permissions that new files lack, which can only be read by setting."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
