"""Fits by several processes, which torchrun or a cluster would start."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.whole import ranks
from tests.whole.ranks import CASES, run_ranks

ROOT = Path(__file__).parents[2]
# What docs/user_guide/clusters.md promises of one process and several: numbers differ
# by so much, relative to the largest.
TOLERANCE = {"float64": 1e-6, "float32": 1e-2}
# Its coordinates depend on rounding, in one process as well.
NOT_THE_SAME_MODEL = {"SOAP"}
WITH_FOUR = ["flow to a time", "AdamW, missing numbers", "AdamW of classes"]
SECONDS_TO_NOTICE = 60.0  # that a rank is dead
pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """What every rank tells of the fits of all cases, by the number of ranks."""
    names = {2: list(CASES), 4: WITH_FOUR}
    return {
        size: run_ranks(
            size, ranks.all_cases, tmp_path_factory.mktemp(f"of-{size}"), some
        )
        for size, some in names.items()
    }


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """What each of two ranks tells of all in which none dies."""
    folder = tmp_path_factory.mktemp("of-two")
    return run_ranks(2, ranks.all_but_deaths, folder, folder)


@pytest.fixture(scope="module")
def fits_of_one():
    """What one process tells of the fits of all cases."""
    return {name: ranks.fitted(name) for name in CASES}


def assert_close(one, other, tolerance):
    """Two fits have the same numbers, up to a tolerance."""
    assert one["exact"] == other["exact"]
    for name, value in one.items():
        if name in ("exact", "weights"):
            continue
        if value is None:
            assert other[name] is None, name
            continue
        size = np.abs(value).max()
        np.testing.assert_allclose(
            other[name], value, rtol=0, atol=tolerance * size, err_msg=name
        )


@pytest.mark.parametrize(
    ("size", "name"),
    [(2, name) for name in CASES] + [(4, name) for name in WITH_FOUR],
)
def test_several_processes_fit_the_model_of_one(fits, fits_of_one, size, name):
    of_ranks = [told[name] for told in fits[size]]
    for other in of_ranks[1:]:
        for mine, its in zip(of_ranks[0]["weights"], other["weights"], strict=True):
            np.testing.assert_array_equal(mine, its)
        np.testing.assert_array_equal(of_ranks[0]["predictions"], other["predictions"])
    one = fits_of_one[name]
    if name in NOT_THE_SAME_MODEL:
        assert of_ranks[0]["scores"][-1] == pytest.approx(one["scores"][-1], abs=0.15)
    else:
        assert_close(one, of_ranks[0], TOLERANCE[CASES[name][1]["dtype"]])


def test_the_same_number_of_ranks_fits_the_same_model_to_the_bit(fits, of_two):
    for told, before in zip(of_two, fits[2], strict=True):
        for name, again in told["fits again"].items():
            pairs = zip(again["weights"], before[name]["weights"], strict=True)
            for mine, its in pairs:
                np.testing.assert_array_equal(mine, its)


def test_what_one_rank_cannot_do_ends_the_fit_on_all(of_two):
    of_ranks = [told["disagreements"] for told in of_two]
    for told in of_ranks:
        for name in ("depth", "seed"):
            kind, text = told[name]
            assert kind == "ValueError"
            assert "All processes of a fit must have the same" in text
        assert told["depth"][1].endswith(": rank 0 has 4, rank 1 has 5.")
        assert "`random_state`" in told["seed"][1]
        assert "features of X" in told["columns"][1]
        assert "outputs of y" in told["outputs"][1]
        assert told["after all"] is None
    healthy, failing = of_ranks
    for name, kind, text in (
        ("a wrong depth", "InvalidParameterError", "'depth' parameter"),
        ("NaN", "ValueError", "Input X contains NaN"),
        ("a callback", "OSError", "the disk is full"),
    ):
        assert failing[name][0] == kind
        assert text in failing[name][1]
        assert healthy[name][0] == "RankError"
        assert "rank 1 has failed" in healthy[name][1]
        assert text in healthy[name][1]
    for told in of_ranks:
        assert "interrupted" in told["interrupt"][1]
    np.testing.assert_array_equal(healthy["without a seed"], failing["without a seed"])


def test_a_fit_without_the_word_stays_local(of_two):
    for rank, told in enumerate(of_two):
        alone, found = ranks.a_local_fit(rank, 2), told["a local fit"]
        np.testing.assert_array_equal(found["predictions"], alone["predictions"])


def test_only_the_first_rank_draws_and_writes(of_two):
    first, second = (told["bars and files"] for told in of_two)
    assert first == {"drew": True, "wrote": True}
    assert second == {"drew": False, "wrote": False}


@pytest.mark.parametrize(
    "n", [pytest.param(1, id="once"), pytest.param(20, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("size", [2, 4])
def test_a_rank_that_is_killed_ends_the_fit_on_the_others(tmp_path, size, n):
    for i in range(n):
        dying = (1 + i) % size
        folder = tmp_path / str(i)
        folder.mkdir()
        task = folder, "AdamW, stopped early", dying, 2 + i
        of_ranks = run_ranks(size, ranks.a_fit_with_a_checkpoint, folder, *task)
        assert of_ranks.pop(dying) == -9
        for text, seconds in of_ranks:
            assert "lost another rank" in text
            assert seconds < SECONDS_TO_NOTICE


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("AdamW, stopped early", (2, 4)), ("flow stopped early", (1,))],
)
def test_a_fit_goes_on_from_its_checkpoint_on_any_number_of_ranks(
    tmp_path, fits, fits_of_one, name, sizes
):
    task = ranks.a_fit_with_a_checkpoint, tmp_path, tmp_path, name
    assert run_ranks(2, *task, 1, 12)[1] == -9
    kept = (tmp_path / "checkpoint").read_bytes()
    for size in sizes:
        (tmp_path / "checkpoint").write_bytes(kept)
        told, *_ = run_ranks(size, *task)
        assert not (tmp_path / "checkpoint").exists()
        assert told["epochs of this process"] < told["exact"]["epochs"]
        if size == 2:
            before = fits[2][0][name]["weights"]
            for mine, its in zip(told["weights"], before, strict=True):
                np.testing.assert_array_equal(mine, its)
        assert_close(fits_of_one[name], told, TOLERANCE["float64"])


def test_the_example_runs_by_torchrun():
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*run, "--standalone", str(ROOT / "examples" / "distributed_fit.py")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=ranks.TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("R2") == 1  # the first rank alone tells it
