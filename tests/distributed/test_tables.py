"""What several processes learn of a table is what one process learns that has all."""

from functools import partial

import numpy as np
import pytest
import torch

from odenet._distributed.group import ALONE
from odenet._estimators.preparation import evenly
from odenet._tables.columns import Columns
from odenet._tables.encoder import fit_embedding, fit_encoder
from odenet._tables.hold_out import hold_out
from odenet._tables.normal_scores import MOST_KNOTS
from odenet._tables.rare_categories import Pooling
from odenet._tables.reading import Rows, merged
from odenet._tables.rows import digest_of_rows
from odenet._tables.targets import ClassTargets, RegressionTargets
from tests.distributed.threads import in_threads, parts_of

N = 2000
PARAMS = {"label_smoothing": 0.05, "class_weight": "balanced"}


@pytest.fixture
def X(rng):
    """Columns of many numbers, of few, of one, with gaps, and two of categories."""
    X = rng.normal(size=(N, 8))
    X[:, 1] = rng.integers(0, 9, N)
    X[:, 2] = 0.1 + 0.2
    X[:, 3] *= 1e200
    X[: N // 3, 4] = np.nan  # all that the first process has
    X[:, 5] = np.where(rng.random(N) < 0.6, 0.0, X[:, 5])  # mostly zero
    X[:, 6] = rng.integers(0, 3, N)
    X[:, 7] = np.where(np.arange(N) == N - 1, 4, rng.integers(0, 2, N))
    return X


@pytest.fixture(params=["equal", "counts", "real"])
def weight(request, rng):
    kinds = {"equal": np.ones(N), "counts": rng.integers(1, 5, N).astype(float)}
    return kinds.get(request.param, 1e-3 + rng.random(N))


def joined(found):
    """The rows of all ranks, one after the other, as in one process."""
    parts = zip(*found, strict=True)
    return [None if part[0] is None else np.concatenate(part) for part in parts]


def encoder_of(group, X, weight, name, generator_of):
    """The encoder of a table of which a group has the rows, and its columns."""
    columns = Columns({6: tuple("abc"), 7: tuple("uvwxy")}, allow_nan=True)
    pooling = Pooling((X, np.zeros(len(X)), weight), 2, None, group)
    columns, X = columns.settled(X.copy(), True, pooling, group)
    embedding = None
    if name:
        task = name, columns, X, weight, generator_of(), 4.0
        embedding = fit_embedding(*task, group)
    settings = {"gain": 0.7, "limit": 4.0, "embedding": embedding, "group": group}
    return fit_encoder(columns, X, weight, **settings)


@pytest.mark.parametrize("name", [None, "piecewise_linear", "periodic"])
@pytest.mark.parametrize("size", [2, 3])
def test_an_encoder(X, weight, name, size):
    def generator_of():
        return torch.Generator().manual_seed(0)

    one = encoder_of(ALONE, X, weight, name, generator_of)
    for own in in_threads(
        size,
        lambda g: encoder_of(g, *parts_of(g, X, weight), name, generator_of),
    ):
        assert own.columns.categories == one.columns.categories
        assert own.columns.pooled == one.columns.pooled
        for attribute in ("numeric", "incomplete", "scored"):
            np.testing.assert_array_equal(
                getattr(own.columns, attribute), getattr(one.columns, attribute)
            )
        np.testing.assert_allclose(own.fill, one.fill, rtol=1e-12)
        np.testing.assert_allclose(
            own.standardizer.scale, one.standardizer.scale, rtol=1e-12
        )
        pairs = list(zip(own.scores.knots, one.scores.knots, strict=True))
        assert max(len(values) for (values, _), _ in pairs) > MOST_KNOTS / 2
        for (values, scores), (expected, of_expected) in pairs:
            np.testing.assert_array_equal(values, expected)
            np.testing.assert_allclose(scores, of_expected, atol=1e-10)
        if name == "piecewise_linear":
            for mine, its in zip(own.embedding.edges, one.embedding.edges, strict=True):
                np.testing.assert_array_equal(mine, its)
        rows = X.copy()
        rows[:, 7] = np.minimum(rows[:, 7], 2)
        np.testing.assert_allclose(own(rows), one(rows), atol=1e-9)


@pytest.mark.parametrize("size", [2, 3])
def test_rows_are_merged_in_the_order_of_one_process_and_dealt_out(X, weight, size):
    X[rng_of(1).integers(0, N, 300)] = X[0]  # equal rows, on all processes
    y = np.arange(N) % 2
    y[:] = np.where((X[0] == X).all(axis=1), 0, y)
    one = merged(Rows(X, y, weight, None, weight + 1), 7)

    def task(group):
        X_, y_, weight_ = parts_of(group, X, y, weight)
        return merged(Rows(X_, y_, weight_, None, weight_ + 1), 7, group)

    found = in_threads(size, task)
    for mine, its in zip(joined(found), one, strict=True):
        if its is not None:
            np.testing.assert_array_equal(mine, its)
            assert mine.dtype == its.dtype
    assert all(abs(len(own.y) - len(one.y) / size) < 0.1 * N for own in found)
    moved = in_threads(size, lambda group: evenly(found[group.rank], group))
    assert max(len(own.y) for own in moved) - min(len(own.y) for own in moved) <= 1
    np.testing.assert_array_equal(joined(moved)[0], one.X)
    (digest,) = set(
        in_threads(size, lambda g: digest_of_rows(*parts_of(g, X, y, weight), g))
    )
    order = rng_of(2).permutation(N)
    assert digest == digest_of_rows(X[order], y[order], weight[order], ALONE)
    assert digest != digest_of_rows(X, y, weight + (np.arange(N) == 5), ALONE)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("heavy", [False, True])
def test_rows_are_held_out(X, weight, size, heavy):
    strata = (np.arange(N) % 5 == 0) + 2 * (np.arange(N) == 7)  # one is alone
    weight[3] = 1000.0 if heavy else weight[3]
    rows = Rows(X, strata, weight)
    expected = hold_out(rows, strata, 0.1, at_least_some=True)

    def task(group):
        own = Rows(*parts_of(group, X, strata, weight))
        parts = hold_out(own, own.y, 0.1, at_least_some=True, group=group)
        return [part.of(own) for part in parts]

    parts = zip(*in_threads(size, task), strict=True)
    for part, of_one in zip(parts, expected, strict=True):
        for mine, its in zip(joined(part)[:3], of_one.of(rows)[:3], strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-12)


def test_targets(X, weight):
    labels = np.array(["a", "b", "c"])[rng_of(3).integers(0, 3, N)]
    of = partial(ClassTargets.of, estimator_name="", params=PARAMS)
    one = of(labels)
    y = one.encode(labels)
    weighed = one.weigh(y, weight)
    shares = one.fitted(y, weighed, True).shares

    def task(group):
        own, weight_ = parts_of(group, labels, weight)
        targets = of(own, group=group)
        y_ = targets.encode(own)
        weighed = targets.weigh(y_, weight_, group)
        return targets.classes, weighed, targets.fitted(y_, weighed, True, group).shares

    found = in_threads(2, task)
    for classes, _, of_ranks in found:
        np.testing.assert_array_equal(classes, one.classes)
        np.testing.assert_allclose(of_ranks, shares, rtol=1e-12)
    weights = np.concatenate([weight_ for _, weight_, _ in found])
    np.testing.assert_allclose(weights, weighed, rtol=1e-12)
    for loss in ("squared_error", "poisson"):
        y = np.abs(X[:, :1])
        target = RegressionTargets.of(y, estimator_name="", params={"loss": loss})
        expected = target.fitted(y, weight, True).standardizer
        for own in in_threads(
            2, lambda g, t=target, y=y: t.fitted(*parts_of(g, y, weight), True, g)
        ):
            np.testing.assert_allclose(own.standardizer.mean, expected.mean)
            np.testing.assert_allclose(own.standardizer.scale, expected.scale)


def rng_of(seed):
    return np.random.default_rng(seed)


def test_columns_of_two_numbers_have_no_knots(rng):
    X = rng.integers(0, 2, (40, 2)).astype(float)

    def encoder(group, X):
        columns, X = Columns({}, allow_nan=False).settled(X.copy(), True, group=group)
        return fit_encoder(columns, X, np.ones(len(X)), gain=1.0, group=group)

    expected = encoder(ALONE, X)
    for found in in_threads(2, lambda group: encoder(group, *parts_of(group, X))):
        assert found.scores.knots == ()
        np.testing.assert_allclose(found(X), expected(X), rtol=1e-12)
