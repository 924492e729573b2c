import pytest

from odenet._stored.budget import in_bytes, rows_within


@pytest.mark.parametrize(
    ("given", "n_bytes"),
    [
        (1000, 1000),
        ("1000", 1000),
        ("1000B", 1000),
        ("1.5kb", 1500),
        ("500MB", 500 * 10**6),
        ("2 GB", 2 * 10**9),
        ("2GiB", 2 * 2**30),
        ("1Ti", 2**40),
    ],
)
def test_sizes_are_numbers_or_texts(given, n_bytes):
    assert in_bytes(given) == n_bytes


@pytest.mark.parametrize(
    "wrong", [0, -1, 1.5, "", "much", "1.2.3MB", "0GB", "5PB", "9" * 400 + "GB"]
)
def test_other_sizes_are_told(wrong):
    with pytest.raises(ValueError, match="`memory_limit` must be a positive number"):
        in_bytes(wrong)


def test_rows_within_a_number_of_bytes():
    assert rows_within(10_000, 100) == 100
    with pytest.raises(ValueError, match="at least 6.4 times as large"):
        rows_within(1000, 100)
