"""A file is written as a whole, or not at all."""

import contextlib
import io
import os
import tempfile
from pathlib import Path

import pytest

from odenet._utils.files import readable, remove_parts, replacing


def test_the_new_file_takes_the_place_of_the_old_one_at_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    with replacing(str(path)) as part:
        assert part.parent == tmp_path
        part.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_files_keep_their_place_and_permissions(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("before")
    real.chmod(0o600)
    link.symlink_to(real)
    with replacing(link) as part:
        part.write_text("after")
    assert link.is_symlink()
    assert real.read_text() == "after"
    assert real.stat().st_mode & 0o777 == 0o600
    with replacing(tmp_path / ("long" * 62)) as part:
        part.write_text("new")
    reference = tmp_path / "reference"
    reference.touch()
    new = (tmp_path / ("long" * 62)).stat().st_mode
    assert new == reference.stat().st_mode


def test_a_write_that_fails_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    with contextlib.suppress(RuntimeError), replacing(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_file_objects_are_written_and_read_at_their_position(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    file = io.BytesIO()
    file.write(b"head")
    with replacing(file) as part:
        part.write_bytes(b"after")
        assert file.getvalue() == b"head"
    assert file.getvalue() == b"headafter"
    with contextlib.suppress(RuntimeError), replacing(file) as part:
        part.write_bytes(b"half")
        raise RuntimeError
    assert file.getvalue() == b"headafter"
    file.seek(4)
    with readable(file) as (path, name):
        assert path.read_bytes() == b"after"
        assert name == "The file object"
    assert list(tmp_path.iterdir()) == []


def test_file_objects_of_another_kind_are_refused(tmp_path):
    closed = io.BytesIO()
    closed.close()
    path = tmp_path / "file"
    path.touch()
    with path.open("rb") as read_only:
        for file, error, message in (
            (io.StringIO(), TypeError, "must be opened in binary mode"),
            (closed, ValueError, "closed file"),
            (read_only, OSError, "write"),
        ):
            with pytest.raises(error, match=message), replacing(file):
                raise AssertionError("nothing is to be computed for it")
    for file, error, message in (
        (io.StringIO("text"), TypeError, "must be opened in binary mode"),
        (closed, ValueError, "closed file"),
    ):
        with pytest.raises(error, match=message), readable(file):
            pass


def test_a_path_to_read_from_is_itself(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError), readable(path):
        pass
    path.touch()
    with readable(str(path)) as given:
        assert given == (Path(path), str(path))


def test_a_folder_to_write_to_must_be_there(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"),
        replacing(tmp_path / "nowhere" / "file"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused = pytest.raises(OSError, match="no regular file.*pass a file object")
    with refused, replacing(pipe):
        raise AssertionError("it was to be replaced")
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_the_mask_of_permissions_is_obeyed_and_not_touched(tmp_path, monkeypatch):
    mask = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", None)
        with replacing(tmp_path / "model"):
            pass
    finally:
        monkeypatch.undo()
        os.umask(mask)
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o640


def test_an_interrupt_right_after_the_file_was_made_leaves_nothing(
    tmp_path, monkeypatch
):
    def interrupted(handle, close=os.close):
        close(handle)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "close", interrupted)
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "model"):
        pass
    assert not any(tmp_path.iterdir())


def test_only_the_parts_of_this_file_are_removed(tmp_path):
    path = tmp_path / "a[1]*"
    names = "a", "a1b.part", f".a1b.{'0' * 16}.part", ".a[1]*.part", ".a[1]*.backup"
    others = [tmp_path / name for name in names]
    for other in others:
        other.touch()
    with replacing(path) as part:
        left = part.with_name(part.name.replace(part.name[-21:-5], "0123456789abcdef"))
        left.touch()
    remove_parts(path)
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])
    remove_parts(tmp_path / "not there")
