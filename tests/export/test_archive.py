import json
import re

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from odenet._export.archive import (
    NotOurs,
    digest_of,
    parsed_json,
    read_archive,
    write_archive,
)

ARRAYS = {"a": np.arange(3.0), "b": np.zeros((2, 0), dtype=np.int8)}


def parse(header, name):
    return json.loads(header), name


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "file"
    write_archive(path, "key", '{"x": 1}', ARRAYS)
    (header, told), arrays, name = read_archive(path, "key", parse)
    assert (header, told, name) == ({"x": 1}, str(path), str(path))
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)


def test_a_check_comes_before_the_old_file_goes(tmp_path):
    path = tmp_path / "file"
    write_archive(path, "key", "1", {})

    def check(part):
        assert read_archive(part, "key", parse)[0][0] == 2
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_archive(path, "key", "2", {}, check)
    assert read_archive(path, "key", parse)[0][0] == 1


def test_files_of_others_and_damaged_ones_are_told_apart(tmp_path):
    path = tmp_path / "file"
    write_archive(path, "key", "1", ARRAYS)
    with pytest.raises(NotOurs, match="did not write it"):
        read_archive(path, "another key", parse)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(NotOurs, match="incomplete"):
        read_archive(path, "key", parse)
    start = whole.index(np.arange(3.0).tobytes())
    path.write_bytes(whole[: start + 7] + b"\x01" + whole[start + 8 :])
    with pytest.raises(ValueError, match="damaged, or was changed") as error:
        read_archive(path, "key", parse)
    assert error.type is ValueError
    with safe_open(path, framework="np") as file:
        changed = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(changed, path, metadata={"key": "2"})
    with pytest.raises(ValueError, match=re.escape(f"{path} is damaged")):
        read_archive(path, "key", parse)


def test_the_hash_is_that_of_header_names_types_and_shapes():
    digests = [
        digest_of("", {}),
        digest_of("x", {}),
        digest_of("", {"a": np.zeros(2)}),
        digest_of("", {"b": np.zeros(2)}),
        digest_of("", {"a": np.zeros(2, dtype=np.int64)}),
        digest_of("", {"a": np.zeros((2, 1))}),
    ]
    assert len({d.tobytes() for d in digests}) == len(digests)


def test_a_header_with_more_lists_than_any_model_is_refused():
    assert parsed_json("[" * 500 + "]" * 500)
    with pytest.raises(ValueError, match="more lists"):
        parsed_json("[" * 200_000 + "]" * 200_000)
