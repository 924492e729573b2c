"""Files in which unfinished fits are kept, with a section for each."""

import json
from pathlib import Path

from odenet._export.archive import (
    DAMAGES,
    NotOurs,
    parsed_json,
    read_archive,
    write_archive,
)
from odenet._export.plain_data import NotData, from_data, to_data
from odenet._utils.files import remove_parts

KEY = "odenet checkpoint"  # what a file says it is


class CheckpointFile:
    """A file of sections, which is written as a whole or not at all.

    Parameters
    ----------
    path : str or path-like
        No file yet, or one that was written by this class.

    Attributes
    ----------
    sections : dict
        Plain data and arrays, by name.
    damage : str or None
        What is wrong with the file: there are no sections then.

    Raises
    ------
    OSError
        If the file cannot be read, or its folder is missing.
    ValueError
        If there is a file of something else, which must not be lost.
    """

    def __init__(self, path):
        self.path = Path(path).resolve()
        self.sections, self.damage = {}, None
        self.seen = None  # the file as it was last read or written
        remove_parts(self.path)
        self._refresh()

    def _refresh(self):
        """Read the sections, unless the file is as it was."""
        if self.seen == _identity(self.path):
            return
        self.sections, self.seen = {}, _identity(self.path)
        if self.seen is None:
            return
        try:
            header, arrays, _ = read_archive(self.path, KEY, _parse_header)
            self.sections = from_data(header, arrays)
        except NotOurs as error:
            raise ValueError(
                f"`checkpoint` names a file that is no checkpoint, and that is not "
                f"overwritten: {self.path}. Choose another name, or remove it."
            ) from error
        except DAMAGES as error:
            self.damage = str(error)

    def write(self, name, section):
        """Write a section in place of that of the same name, and keep the others.

        Raises
        ------
        OSError
            If the file cannot be written, which leaves it as it was.
        """
        self._refresh()
        sections, arrays = {**self.sections, name: section}, {}
        try:
            header = json.dumps(to_data(sections, arrays), allow_nan=False)
        except NotData as error:
            raise OSError(f"{self.path} cannot be written: {error}.") from error
        write_archive(self.path, KEY, header, arrays)
        self.sections, self.seen = sections, _identity(self.path)

    def remove(self, name):
        """Remove a section, and with the last one the file."""
        self._refresh()
        self.sections.pop(name, None)
        if self.sections:
            self.write(*next(iter(self.sections.items())))
        else:
            self.path.unlink(missing_ok=True)
            self.seen = None


def _identity(path):
    """Return numbers that change when a file is replaced; None if there is none."""
    if not path.exists():
        return None
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns


def _parse_header(header, name):
    """Parse the header of a file."""
    return parsed_json(header)
