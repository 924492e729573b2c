"""Which samples are held out."""

import numpy as np
import pytest

from odenet._tables.hold_out import (
    N_FOLDS,
    Validation,
    blocks_in_order,
    cross_validation_folds,
    folds_of_groups,
    groups_to_hold_out,
    held_out_parts,
    hold_out,
    last_part,
    share_to_hold_out,
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
        train, held_out = (set(part.places) for part in parts)
        assert abs(len(held_out) - expected) <= 1
        assert train | held_out == set(range(n))
        assert not train & held_out


def test_held_out_rows_know_their_places():
    rows = rows_of(40)
    folds = cross_validation_folds(rows, None)
    parts = hold_out(rows, None, 0.2, at_least_some=False)
    for part in [*(part.of(rows) for part in parts), *folds[1]]:
        np.testing.assert_array_equal(rows.X[part.index], part.X)


def test_every_stratum_keeps_its_share():
    y = np.repeat([0, 1], [900, 100])
    _, held_out = hold_out(rows_of(1000, y), y, 0.2, at_least_some=False)
    assert (y[held_out.places] == 1).mean() == pytest.approx(0.1, abs=0.01)


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
    shared = [part.weight[part.places == 7].item() for part in parts]
    assert shared == pytest.approx([2400.0, 600.0])
    train, held_out = (set(part.places) for part in parts)
    assert train & held_out == {7}
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


def test_the_last_part_is_cut_between_rows_of_weight_one():
    train, held_out = last_part(np.array([1.0, 2, 3, 4]), 0.5)
    assert train.tolist() == [1, 2, 2, 0]
    assert held_out.tolist() == [0, 0, 1, 4]
    train, held_out = last_part(np.array([0.5, 1, 1.5, 2]), 0.5)  # no row is cut
    assert train.tolist() == [0.5, 1, 0, 0]
    assert held_out.tolist() == [0, 0, 1.5, 2]
    for weight in ([1.0, 1.0], [0.3, 0.2], [9.0, 0.5], [5.0, 1.0]):
        for fraction in (0.01, 0.99):
            parts = last_part(np.array(weight), fraction)
            assert all(part.sum() > 0 for part in parts)
            np.testing.assert_array_equal(sum(parts), weight)


def test_blocks_follow_each_other():
    for weight in (np.ones(40), np.full(40, 0.5), np.arange(40.0)):
        parts = blocks_in_order(weight)
        assert len(parts) == N_FOLDS
        for train, held_out in parts:
            assert held_out.any()
            last, first = train.nonzero()[0][-1], held_out.nonzero()[0][0]
            assert last <= first
            assert train.sum() >= 0.49 * weight.sum() - weight.max()
        np.testing.assert_array_equal(sum(parts[-1]), weight)
    heavy = np.append(np.full(20, 0.1), 100.5)
    assert [held.nonzero()[0].tolist() for _, held in blocks_in_order(heavy)] == [[20]]


def test_folds_of_groups_are_of_about_equal_weight():
    rng = np.random.default_rng(0)
    loads = rng.uniform(0.5, 1.5, size=(40, 2))
    loads /= loads.sum(axis=0)
    fold = folds_of_groups(loads, 5, rng)
    shares = np.array([loads[fold == i].sum(axis=0) for i in range(5)])
    np.testing.assert_allclose(shares, 0.2, atol=0.03)
    one_class_each = np.repeat(np.eye(2), 3, axis=0) / 3
    fold = folds_of_groups(one_class_each, 3, rng)
    assert np.bincount(fold).tolist() == [2, 2, 2]
    for i in range(3):
        assert one_class_each[fold == i].sum(axis=0).tolist() == [1 / 3, 1 / 3]
    equal = np.full((6, 1), 1 / 6)
    drawn = {tuple(folds_of_groups(equal, 3, rng)) for _ in range(20)}
    assert len(drawn) > 1


def test_groups_that_are_held_out_have_about_the_fraction():
    rng = np.random.default_rng(0)
    loads = rng.uniform(0.5, 1.5, size=(100, 2))
    loads /= loads.sum(axis=0)
    drawn = [groups_to_hold_out(loads, 0.2, rng) for _ in range(10)]
    for chosen in drawn:
        np.testing.assert_allclose(loads[chosen].sum(axis=0), 0.2, atol=0.04)
    assert len({tuple(chosen) for chosen in drawn}) == 10
    few = np.array([[0.6], [0.25], [0.15]])  # all too heavy: the lightest
    assert groups_to_hold_out(few, 0.05, rng).tolist() == [False, False, True]
    for _ in range(10):  # others are left to train on
        chosen = groups_to_hold_out(np.full((2, 1), 0.5), 0.9, rng)
        assert chosen.sum() == 1
    only = np.array([[1.0, 0.5], [0.0, 0.25], [0.0, 0.25]])
    assert not groups_to_hold_out(only, 0.9, rng)[0]  # the only one of its stratum
    assert not groups_to_hold_out(np.eye(3), 0.5, rng).any()


def test_the_share_of_few_rows_is_larger_where_they_are_to_suffice():
    for n, at_least_some, expected in [
        (199, True, 0.1),
        (200, True, 0.3),
        (500, True, 0.2),
        (500, False, 0.1),
        (2000, True, 0.1),
    ]:
        assert share_to_hold_out(0.1, n, at_least_some=at_least_some) == expected
