"""Sections of unfinished fits in one file."""

import re

import numpy as np
import pytest

from odenet import ResODERegressor
from odenet._export.checkpoint import CheckpointFile
from odenet._utils.files import replacing

SECTION = {"seed": 3, "records": [{"a": np.arange(3.0), "t": (1, np.inf, None)}]}


def held(section):
    """Tell whether a section holds what SECTION does."""
    record = section["records"][0]
    return (
        section["seed"] == 3
        and np.array_equal(record["a"], np.arange(3.0))
        and record["t"] == (1, np.inf, None)
    )


def test_sections_come_back_and_go_one_by_one(tmp_path):
    path = tmp_path / "fit"
    first, second = CheckpointFile(path), CheckpointFile(str(path))
    assert not path.exists()
    first.write("one", SECTION)
    second.write("two", {"x": 1})  # what has come to the file meanwhile is kept
    first.write("one", SECTION)
    both = CheckpointFile(path).sections
    assert both.keys() == {"one", "two"}
    assert held(both["one"])
    first.remove("one")
    assert CheckpointFile(path).sections == {"two": {"x": 1}}
    second.remove("two")
    second.remove("two")
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_file(tmp_path):
    file = CheckpointFile(tmp_path / "fit")
    file.write("one", SECTION)
    with pytest.raises(OSError, match=re.escape(str(file.path))):
        file.write("one", {"no data": object()})
    assert held(file.sections["one"])
    assert held(CheckpointFile(file.path).sections["one"])


def test_files_of_others_are_never_overwritten(tmp_path, rng):
    text, model = tmp_path / "notes.txt", tmp_path / "model.safetensors"
    text.write_text("mine")
    fitted = ResODERegressor(2, width=2, flow_time=0.1).fit([[0.0], [1.0]], [0, 1])
    fitted.save(model)
    for path in (text, model):
        before = path.read_bytes()
        with pytest.raises(ValueError, match="no checkpoint, and that is not"):
            CheckpointFile(path)
        assert path.read_bytes() == before


def test_damage_is_told_and_written_over(tmp_path):
    path = tmp_path / "fit"
    CheckpointFile(path).write("one", SECTION)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(np.arange(3.0).tobytes(), np.ones(3).tobytes()))
    file = CheckpointFile(path)
    assert "damaged" in file.damage
    assert file.sections == {}
    file.write("one", SECTION)
    assert CheckpointFile(path).damage is None


def test_what_killed_writers_left_is_removed(tmp_path, monkeypatch):
    path = tmp_path / "fit"
    CheckpointFile(path).write("one", SECTION)
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.unlink", lambda *args, **kwargs: None)
        with pytest.raises(RuntimeError), replacing(path):
            raise RuntimeError
    assert len(list(tmp_path.iterdir())) == 2
    assert held(CheckpointFile(path).sections["one"])
    assert list(tmp_path.iterdir()) == [path]
