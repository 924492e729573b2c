"""Which samples are held out."""

import numpy as np
import pytest

from odenet._tables.hold_out import (
    N_FOLDS,
    Validation,
    cross_validation_folds,
    held_out_parts,
    hold_out,
    validation,
)
from odenet._tables.reading import Rows


def rows_of(n, y=None, weight=None):
    X = np.arange(float(n))[:, None]
    y = X.copy() if y is None else y
    return Rows(X, y, np.ones(n) if weight is None else weight, np.arange(n))


def test_which_rows_judge():
    for early_stopping, n_rows, settings, expected in [
        ("auto", 199, {}, Validation.NONE),
        ("auto", 200, {}, Validation.PART),
        ("auto", 19, {"has_kink": True}, Validation.NONE),
        ("auto", 20, {"has_kink": True}, Validation.PART),
        ("auto", 100, {"has_kink": True, "flow": True}, Validation.FOLDS),
        (False, 100, {"has_kink": True}, Validation.NONE),
        ("auto", 19, {"flow": True}, Validation.NONE),
        ("auto", 20, {"flow": True}, Validation.FOLDS),
        ("auto", 500, {"flow": True}, Validation.FOLDS),
        ("auto", 501, {"flow": True}, Validation.PART),
        ("auto", 100, {"flow": True, "goes_on": True}, Validation.NONE),
        (True, 100, {"flow": True}, Validation.PART),
        (True, 2, {}, Validation.PART),
        (True, 1, {}, Validation.NONE),
        (False, 10_000, {"flow": True}, Validation.NONE),
    ]:
        assert validation(early_stopping, n_rows, **settings) is expected


def test_how_many_are_held_out():
    """At least 100 rows if that is asked for, but no more than 30 % of few."""
    for n, fraction, at_least_some, expected in [
        (1000, 0.1, False, 101),
        (1000, 0.2, True, 201),
        (500, 0.1, True, 101),
        (200, 0.1, True, 61),
        (200, 0.1, False, 21),
    ]:
        parts = hold_out(rows_of(n), None, fraction, at_least_some=at_least_some)
        train, held_out = (set(part.X.ravel()) for part in parts)
        assert abs(len(held_out) - expected) <= 1
        assert train | held_out == set(range(n))
        assert not train & held_out


def test_held_out_rows_know_their_places():
    rows = rows_of(40)
    folds = cross_validation_folds(rows, None)
    for part in [*hold_out(rows, None, 0.2, at_least_some=False), *folds[1]]:
        np.testing.assert_array_equal(rows.X[part.index], part.X)


def test_every_stratum_keeps_its_share():
    y = np.repeat([0, 1], [900, 100])
    _, held_out = hold_out(rows_of(1000, y), y, 0.2, at_least_some=False)
    assert (held_out.y == 1).mean() == pytest.approx(0.1, abs=0.01)


def test_shares_are_of_the_weight():
    weight = np.where(np.arange(100) < 50, 3.0, 1.0)
    _, held_out = hold_out(rows_of(100, weight=weight), None, 0.3, at_least_some=False)
    assert held_out.weight.sum() == pytest.approx(0.3 * weight.sum(), abs=3.0)


def test_nothing_is_held_out_where_no_row_is_to_spare():
    y = np.array([0, 1])
    assert hold_out(rows_of(2, y), y, 0.1, at_least_some=False) == (None, None)


def test_a_heavy_row_is_in_both_parts_with_its_share_of_the_weight():
    weight = np.ones(300)
    weight[7] = 3000.0
    parts = hold_out(rows_of(300, weight=weight), None, 0.2, at_least_some=False)
    shared = [part.weight[part.X.ravel() == 7].item() for part in parts]
    assert shared == pytest.approx([2400.0, 600.0])
    train, held_out = (set(part.X.ravel()) for part in parts)
    assert train & held_out == {7.0}
    assert sum(part.weight.sum() for part in parts) == pytest.approx(weight.sum())
    assert len(held_out) == pytest.approx(60, abs=1)


def test_every_row_is_held_out_in_one_fold():
    y = np.repeat([0, 1, 2], [80, 19, 1])
    folds = cross_validation_folds(rows_of(100, y), y)
    assert len(folds) == N_FOLDS
    held_out = np.concatenate([part.X.ravel() for _, part in folds])
    assert sorted(held_out) == list(range(99))  # all but the only row of class 2
    for train, part in folds:
        assert not set(train.X.ravel()) & set(part.X.ravel())
        assert len(train.y) + len(part.y) == 100
        assert (part.y == 0).sum() == 16
        assert (part.y == 1).sum() in (3, 4)


def test_a_heavy_row_is_in_all_folds_with_its_share_of_the_weight():
    weight = np.ones(100)
    weight[7] = 500.0
    for train, part in cross_validation_folds(rows_of(100, weight=weight), None):
        shared = [rows.weight[rows.X.ravel() == 7].item() for rows in (train, part)]
        assert shared == pytest.approx([400.0, 100.0])
        assert len(part.y) == pytest.approx(99 / 5 + 1, abs=1)


def test_what_judges_is_told_by_the_split():
    rows = rows_of(20)
    shares = np.eye(4).repeat(5, axis=1)[:2]
    parts = held_out_parts(rows, {"shares": shares})
    assert [part.index.tolist() for part in parts] == [[*range(5)], [*range(5, 10)]]
    folds = cross_validation_folds(rows, None)
    assert held_out_parts(rows, {"folds": folds}) == [part for _, part in folds]
    assert held_out_parts(rows, {"train": rows, "held_out": rows}) == [rows]
    for splits in ({}, {"shares": None}, {"train": None, "held_out": None}):
        assert held_out_parts(rows, splits) == []
