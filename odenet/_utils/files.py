"""Files that are written as a whole, or not at all; file objects in place of paths."""

import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex


@contextmanager
def replacing(file):
    """Yield a path to write to, and put the new file in place of the old one.

    If an error is raised, the file that was there stays as it was, and nothing is
    written to a file object. The new file lies in the same folder, because only within
    one file system is a replacement atomic.

    Parameters
    ----------
    file : str, path-like or binary file object
        The file to replace. If it is a symbolic link, the file behind it is replaced. A
        file object gets the bytes of the new file at its position.

    Yields
    ------
    part : Path
        The path of the new file.

    Raises
    ------
    OSError, ValueError
        If the folder is missing, if what is there is no regular file, or if the file
        object is closed or cannot be written to.
    TypeError
        If the file object takes texts.
    """
    if not hasattr(file, "write"):
        with _replacing_path(Path(file).resolve()) as part:
            yield part
        return
    with _of_bytes():
        file.write(b"")  # raises now what it would raise in the end
    with _temporary() as part:
        yield part
        with part.open("rb") as source:
            shutil.copyfileobj(source, file)


@contextmanager
def readable(file):
    """Yield a path to read what a file holds, and a name of it for messages.

    Parameters
    ----------
    file : str, path-like or binary file object
        A file object is read from its position to its end.

    Yields
    ------
    path : Path
    name : str

    Raises
    ------
    OSError, ValueError
        If the file cannot be read, or the file object is closed.
    TypeError
        If the file object gives texts.
    """
    if not hasattr(file, "read"):
        with Path(file).open("rb"):  # raises the errors of the system: it is missing
            pass
        yield Path(file), str(file)
        return
    with _temporary() as path:
        with path.open("wb") as part, _of_bytes():
            shutil.copyfileobj(file, part)
        yield path, "The file object"


def remove_parts(file):
    """Remove the new files that killed processes have left beside a file.

    Parameters
    ----------
    file : str or path-like
        A file that no other process writes at present.
    """
    path = Path(file).resolve()
    of_a_part = re.compile(re.escape(_start_of_parts(path)) + "[0-9a-f]{16}[.]part")
    for part in path.parent.iterdir():
        if of_a_part.fullmatch(part.name):
            part.unlink(missing_ok=True)


def _start_of_parts(path):
    """Return how the names of new files begin; a name may have 255 bytes at most."""
    return f".{path.name[:50]}."


@contextmanager
def _of_bytes():
    """Say of a file object that takes or gives texts what to do."""
    try:
        yield
    except TypeError as error:
        raise TypeError(
            f"A file object must be opened in binary mode, as by open(path, 'wb'): "
            f"{error}."
        ) from error


@contextmanager
def _temporary():
    """Yield the path of an empty file that only its owner can read, for a while."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        path.touch()
        yield path


@contextmanager
def _replacing_path(path):
    """Yield the path of a new file, which replaces the one at another path.

    The new file has the permissions that ``open`` gives, or those of the old file. Its
    name is known before it is there, so that it is removed whenever an error comes.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent} to write to.")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(
            f"{path} is no regular file, and is not replaced. To write to a device or "
            "a pipe, pass a file object, as of open(path, 'wb')."
        )
    part = path.with_name(f"{_start_of_parts(path)}{token_hex(8)}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL, 0o666))  # less the umask
        mode = (path if path.exists() else part).stat().st_mode
        yield part
        part.chmod(mode)
        with part.open("rb+") as file:
            os.fsync(file.fileno())  # else a machine that dies may leave it empty
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
