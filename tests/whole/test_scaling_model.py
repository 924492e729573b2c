"""The model of cost of benchmarks/scaling.py, by numbers computed by hand."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
if not FOLDER.exists():
    pytest.skip("needs a clone of the repository", allow_module_level=True)


@pytest.fixture
def model(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("_scaling")


@pytest.fixture
def flow(model):
    """Three gradients of 4 layers and two of 8, of 1000 rows."""
    return model.Tally(
        rows=1000,
        columns=10,
        state_dim=2,
        width=3,
        gradients=((4, 3, 1000), (8, 2, 1000)),
        parameters=((4, 48), (8, 96)),
        forward=0.0,
        reading=model.Messages(5, 4),
        training=model.Messages(10, 0),
        orders=0,
    )


@pytest.fixture
def pages(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("_scaling_page")


def cluster_of(model, **params):
    free = {"gpu_step": 0.0, "gpu_byte": 0.0, "host_step": 0.0, "host_byte": 0.0}
    return model.Cluster({"product": 1e-6}, {}, **{**free, **params})


def test_a_sum_goes_round_a_ring_twice_or_up_and_down_a_tree(model):
    assert [model.steps_of_a_sum(n) for n in (1, 2, 8)] == [0, 2, 14]
    assert [model.steps_of_a_sum(n, by_tree=True) for n in (1, 2, 8)] == [0, 2, 6]


def test_what_a_flow_pays(model, flow):
    paid = model.of_training(flow, 4, cores=2)
    assert paid["gradient"] == 2 * 5  # twice, since two ranks share a core
    assert paid["layer"] == 2 * 28
    assert paid["product"] == 2 * 28 * 250 * 6
    assert paid["message"] == (10 + 5) * 6
    assert paid["byte"] == pytest.approx(1.5 * 4 * (3 * 50 + 2 * 98))
    read = model.of_reading(flow, 4)
    assert read["cell"] == 2500
    assert read["message"] == 5 * 6 + 4 * 3
    assert read["byte"] == 8 * 2500 * 3 / 4


def test_one_rank_sends_nothing(model, flow):
    for paid in (model.of_training(flow, 1), model.of_reading(flow, 1)):
        assert paid["message"] == paid["byte"] == 0


def test_mini_batches_take_steps_and_draw_an_order(model, flow):
    batches = flow.in_batches(10_000, 300, 2)
    assert batches.gradients == ((8, 68, 300),)
    assert batches.training.sums == pytest.approx(2 * 68)  # two a gradient, as before
    assert model.of_training(batches, 5)["order"] == 20_000


def test_least_squares_find_the_constants(model, flow):
    true = {"gradient": 1e-3, "product": 2e-7, "message": 3e-4, "table": 0.1}
    points = []
    for rows in (100, 1000, 5000):
        for ranks in (1, 2):
            tally = flow.of_rows(rows)
            for paid_by in (model.of_training, model.of_reading):
                paid = paid_by(tally, ranks)
                points.append((paid, model.seconds_of(paid, true)))
    found = model.least_squares(points, {"order": 0.5})
    for paid, seconds in points:
        assert model.seconds_of(paid, found) == pytest.approx(seconds)
    assert found["order"] == 0.5
    assert min(found.values()) >= 0


def test_rows_that_are_shared_out_for_nothing_scale_perfectly(model, flow):
    cluster = cluster_of(model)
    for ranks in (2, 64):
        assert cluster.efficiency(lambda n: flow, ranks) == pytest.approx(1.0)


def test_messages_bound_the_ranks_and_rows_raise_the_bound(model, flow):
    cluster = cluster_of(model, host_step=1e-5)
    few, many = (
        cluster.most_ranks(lambda n, rows=rows: flow.of_rows(rows), 0.5)
        for rows in (10**4, 10**6)
    )
    assert 1 <= few < many < 2**20
    assert many & (many - 1) == 0  # a power of two
    assert cluster.efficiency(lambda n: flow.of_rows(10**6), many) >= 0.5
    assert cluster.efficiency(lambda n: flow.of_rows(10**6), 2 * many) < 0.5
    by_tree = cluster_of(model, host_step=1e-5, by_tree=True)
    assert by_tree.most_ranks(lambda n: flow.of_rows(10**6), 0.5) > many


def test_powers_of_a_kernel(model):
    sizes = (100, 200, 400)
    seconds = [2e-7 * n**2 + 3e-10 * n**3 for n in sizes]
    assert model.powers(sizes, seconds) == pytest.approx((2e-7, 3e-10))
    assert model.kernel_bytes(1000, 2, 3, size=4) == 48e6


def test_the_constants_of_a_gpu_are_those_of_its_table(pages):
    """The formula of a gradient meets each of the milliseconds within a half."""
    gpu = pages.gpu_constants()
    for (n, q, m, depth), milliseconds in pages.GPU_MILLISECONDS.items():
        work = depth * n * (q * m * gpu["product"] + m * gpu["state"])
        seconds = gpu["gradient"] + depth * gpu["layer"] + work
        assert 1e3 * seconds == pytest.approx(milliseconds, rel=0.5)


def test_the_page_has_all_tables(pages, flow):
    """Every number of the text is there, and every table."""
    constants = {"table": 0.1, "cell": 1e-7, "order": 1e-8}
    tables, curves, limits = pages.tables_of_clusters(flow, constants, (1e-7, 0.0))
    own = dict.fromkeys(
        ("machine", "counts", "constants", "fits", "kernels"), ["a table"]
    )
    results = {
        "constants": constants,
        "errors": {1: (0.1, 0.2), 4: (0.3, 0.4)},
        "limits": limits,
        "seconds": 100.0,
        "counted": flow,
        "counted time": 10.0,
        "kernel": (8, 4),
    }
    text = pages.page({**own, **tables}, results)
    assert text.count("\na table\n") == len(own)
    for lines in tables.values():
        assert "\n".join(lines) in text
    assert all(curve["efficiency"][0] == pytest.approx(1) for curve in curves.values())
