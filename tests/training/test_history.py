"""A history as the columns of a table."""

import numpy as np

from odenet._training.history import LEADING, history_columns

ROWS = [
    {"epoch": 1, "dur": 0.5, "train_loss": 3.0, "train_batch_count": 4, "batches": []},
    {"epoch": 2, "dur": 0.25, "train_loss": 2.0, "train_batch_count": 3, "rate": 0.1},
    {"epoch": 3, "train_loss": 1.0},
]


def test_costs_are_summed_from_the_start():
    columns = history_columns(ROWS)
    assert columns["seconds"].tolist() == [0.5, 0.75, 0.75]
    assert columns["n_grad_evals"].tolist() == [4, 7, 7]


def test_gradients_that_the_solver_counts_are_kept():
    rows = [{**row, "n_grad_evals": n} for row, n in zip(ROWS, (5, 9, 20), strict=True)]
    assert history_columns(rows)["n_grad_evals"].tolist() == [5, 9, 20]


def test_leading_columns_come_first_and_the_recorded_ones_follow():
    rows = [{"zeta": 1, **ROWS[0]}, {**ROWS[1], "alpha": 2}]
    assert list(history_columns(rows)) == [*LEADING, "zeta", "rate", "alpha"]
    assert list(history_columns([])) == list(LEADING)


def test_what_is_missing_is_nan():
    columns = history_columns(ROWS)
    np.testing.assert_array_equal(columns["rate"], [np.nan, 0.1, np.nan])
    assert np.isnan(columns["valid_loss"]).all()
    assert columns["train_loss"].tolist() == [3.0, 2.0, 1.0]


def test_what_skorch_keeps_for_itself_is_left_out():
    internal = ("batches", "dur", "valid_batch_count", "train_loss_best", "event_lr")
    row = dict.fromkeys(internal, 1.0) | {"duration": 2.0, "my_event": 3.0}
    columns = history_columns([row])
    assert set(columns) - set(LEADING) == {"duration", "my_event"}


def test_values_of_any_type_are_kept_as_they_are():
    rows = [{"list": [1, 2], "mixed": 1, "flag": True}, {"list": [3, 4], "mixed": "a"}]
    columns = history_columns(rows)
    assert columns["list"].shape == (2,)
    assert columns["list"].tolist() == [[1, 2], [3, 4]]
    assert columns["mixed"].tolist() == [1, "a"]
    assert columns["epoch"].dtype == np.float64


def test_the_rows_stay_as_they_were():
    before = [dict(row) for row in ROWS]
    history_columns(ROWS)
    assert before == ROWS
