"""What the model of `_scaling.py` says of many GPUs, and the page that tells it."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from textwrap import fill

from _scaling import ORDER, Cluster, kernel_bytes, least_squares, steps_of_a_sum

# Stated, and not measured here. No fit by several GPUs has been measured at all.
# Milliseconds of one gradient on one NVIDIA H200, of (rows, q, m, L): the column
# "graph" of gpu_seconds in benchmarks/README.md, measured with one GPU.
GPU_MILLISECONDS = {
    (100, 16, 32, 16): 0.71,
    (100, 16, 32, 64): 2.06,
    (100, 16, 32, 256): 7.42,
    (100, 64, 64, 16): 0.67,
    (100, 64, 64, 64): 2.31,
    (100, 64, 64, 256): 8.67,
    (100, 128, 256, 16): 0.87,
    (100, 128, 256, 64): 2.68,
    (100, 128, 256, 256): 10.40,
    (10_000, 16, 32, 16): 1.54,
    (10_000, 16, 32, 64): 4.96,
    (10_000, 16, 32, 256): 17.93,
    (10_000, 64, 64, 16): 1.79,
    (10_000, 64, 64, 64): 5.96,
    (10_000, 64, 64, 256): 21.83,
    (10_000, 128, 256, 16): 2.80,
    (10_000, 128, 256, 64): 10.64,
    (10_000, 128, 256, 256): 40.21,
}
GPU_PEAK = 67e12  # operations/s in float32, of an H200 by NVIDIA's data sheet
OPERATIONS = 12  # a row and weight of W: six products, of two operations each
GPU_MEMORY = 141e9  # bytes, of an H200 by NVIDIA's data sheet
GPU_MEMORY_RATE = 4.8e12  # bytes/s, by the same
BYTES_OF_A_STEP = 40  # a parameter: ten reads and writes by a step; assumed
GPU_STEP = (
    8e-6  # s, of a message from a GPU to the next, other nodes among them; assumed
)
GPU_RATE = 50e9  # bytes/s a GPU: InfiniBand NDR of 400 Gb/s, by the data sheet
HOST_STEP = 20e-6  # s, of a TCP message from a host to the next; assumed
HOST_RATE = 100e9 / 8 / 8  # bytes/s a rank: 100 Gb/s of a node with 8 of them; assumed
BYTES_OF_A_ROW = 4 * 12  # of ten features, a target and a weight in float32
BYTES_OF_ORDER = 8  # a row, in every process
KERNEL_COPIES = 3  # the kernel, its factors, and room to compute them; assumed

RANKS = (8, 64, 256, 1024)
ROWS = (10**6, 10**7, 10**8, 10**9, 10**10)
WIDE = 256  # the state and the width of the wide network
EPOCHS = 10
BATCHES = {  # a global batch, of so many ranks
    "batches of 8192": lambda ranks: 8192,
    "batches of 65536": lambda ranks: 65_536,
    "8192 a rank": lambda ranks: 8192 * ranks,
}
HALF = 0.5
WIDTH = 92  # of the lines of pages
TEMPLATE = Path(__file__).with_suffix(".txt")  # the words around the tables
ROWS_OF_REASONS = 10**8


def gpu_constants():
    """Return the constants of a gradient on a GPU, by least squares of the table.

    Products are at their peak, which the narrow networks of the table cannot tell.
    """
    points = []
    for (n, q, m, depth), milliseconds in GPU_MILLISECONDS.items():
        work = depth * n
        paid = {
            "gradient": 1.0,
            "layer": depth,
            "product": work * q * m,
            "state": work * m,
        }
        points.append((paid, milliseconds / 1e3))
    found = least_squares(points, {"product": OPERATIONS / GPU_PEAK})
    return {**found, "parameter": BYTES_OF_A_STEP / GPU_MEMORY_RATE}


def cluster_of(constants, *, by_tree=False):
    """Return GPUs with hosts whose cores read as those of this machine."""
    host = {name: constants[name] for name in ("table", "cell", ORDER)}
    return Cluster(
        gpu_constants(),
        host,
        GPU_STEP,
        1 / GPU_RATE,
        HOST_STEP,
        1 / HOST_RATE,
        by_tree,
    )


def widened(tally, size):
    """Return the tally of a wider network that takes as many steps."""
    times = (size / tally.width) ** 2
    parameters = tuple((depth, int(n * times)) for depth, n in tally.parameters)
    return replace(tally, state_dim=size, width=size, parameters=parameters)


def tables_of_clusters(counted, constants, of_kernels):
    """Return what the model says of many GPUs: tables in lines, curves and limits."""
    cluster = cluster_of(constants)
    by_tree = cluster_of(constants, by_tree=True)
    networks = {"thin": counted, "wide": widened(counted, WIDE)}
    tables = {"assumptions": assumptions(cluster, counted)}
    for name, tally in networks.items():
        tables[f"flow, {name}"] = table_of_flows(cluster, tally)
    tables["batches"] = table_of_batches(cluster, counted)
    tables["reasons"] = table_of_reasons(cluster, networks)
    limits = limits_of(cluster, by_tree, networks)
    tables["limits"] = table_of_limits(limits)
    tables["kernels of many rows"] = table_of_kernels(of_kernels)
    return tables, curves_of(cluster, counted), limits


def assumptions(cluster, counted):
    """Return the constants of GPUs and of the flow that is counted, in lines."""
    lines = [f"{'gradient':>10} {cluster.gpu['gradient']:>9.2e} s on a GPU"]
    for name in ("layer", "parameter", "product", "state"):
        lines.append(f"{name:>10} {cluster.gpu[name]:>9.2e}")
    by_depth = ", ".join(f"{n} of {d} layers" for d, n, _ in counted.gradients)
    per = counted.training.sums / counted.n_gradients
    return [
        *lines,
        f"gradients of the flow: {by_depth}",
        f"roll calls and other sums, a gradient: {per:.1f}",
        f"messages of the reading: {counted.reading.sums + counted.reading.others:.0f}",
    ]


def table_of_flows(cluster, tally):
    """Return speed-ups and efficiencies of the flow, in lines."""
    head = "".join(f" | {ranks:>6} GPUs" for ranks in RANKS)
    lines = [f"{'rows':>6} {'s of one':>9}{head}"]
    for rows in ROWS:
        flow = tally.of_rows(rows)
        line = f"{rows:>6.0e} {cluster.seconds(flow, 1):>9.3g}"
        lines.append(line + speed_ups(cluster, lambda ranks, flow=flow: flow))
    return lines


def speed_ups(cluster, tally_of):
    """Return the cells of a line: times as fast, and the efficiency."""
    cells = ""
    for ranks in RANKS:
        share = cluster.efficiency(tally_of, ranks)
        cells += f" | {ranks * share:>5.3g} {100 * share:>4.0f}%"
    return cells


def table_of_batches(cluster, tally):
    """Return speed-ups and efficiencies of mini-batches, in lines."""
    head = "".join(f" | {ranks:>6} GPUs" for ranks in RANKS)
    lines = [f"{'rows':>6} {'':>16} {'s of one':>9}{head}"]
    for rows in ROWS[1:]:
        for name, batch_of in BATCHES.items():
            tally_of = batches(tally, rows, batch_of)
            line = f"{rows:>6.0e} {name:>16} {cluster.seconds(tally_of(1), 1):>9.3g}"
            lines.append(line + speed_ups(cluster, tally_of))
    return lines


def batches(tally, rows, batch_of):
    """Return a function of the ranks: the tally of a fit by mini-batches."""
    return lambda ranks: tally.in_batches(rows, batch_of(ranks), EPOCHS)


def table_of_reasons(cluster, networks, rows=ROWS_OF_REASONS):
    """Return the shares of the seconds by their reasons, in lines."""
    names = "rows", "steps", "sums", "calls", "reading", "order"
    lines = [
        f"{'':>22} {'GPUs':>5} {'s':>8} |" + "".join(f"{name:>8}" for name in names)
    ]
    ways = {
        f"flow, {name}": lambda ranks, tally=tally: tally.of_rows(rows)
        for name, tally in networks.items()
    }
    for name, batch_of in BATCHES.items():
        ways[name] = batches(networks["thin"], rows, batch_of)
    for name, tally_of in ways.items():
        for ranks in (1, *RANKS):
            parts = cluster.parts(tally_of(ranks), ranks)
            total = sum(parts.values())
            shares = "".join(f"{100 * parts[part] / total:>7.0f}%" for part in names)
            lines.append(f"{name:>22} {ranks:>5} {total:>8.3g} |{shares}")
    return lines


def limits_of(cluster, by_tree, networks):
    """Return the most ranks with an efficiency of a half: for all rows, by the way."""
    ways = {f"flow, {name}": (cluster, flows(t)) for name, t in networks.items()}
    for name, batch_of in BATCHES.items():
        ways[name] = cluster, batched(networks["thin"], batch_of)
    for name, tally in networks.items():
        ways[f"flow, {name}, by tree"] = by_tree, flows(tally)
    return {
        name: [kind.most_ranks(tally_of(rows), HALF) for rows in ROWS]
        for name, (kind, tally_of) in ways.items()
    }


def table_of_limits(limits):
    """Return the limits, and what the memory of the ranks has to hold, in lines."""
    lines = [f"{'rows':>22}" + "".join(f"{n:>8.0e}" for n in ROWS)]
    for name, found in limits.items():
        lines.append(f"{name:>22}" + "".join(f"{n:>8}" for n in found))
    needed = [-(-rows * BYTES_OF_A_ROW // int(GPU_MEMORY / 2)) for rows in ROWS]
    lines.append(f"{'GPUs whose memory':>22}" + "".join(f"{n:>8}" for n in needed))
    order = [rows * BYTES_OF_ORDER / 1e9 for rows in ROWS]
    return [*lines, f"{'GB of an order':>22}" + "".join(f"{n:>8.3g}" for n in order)]


def flows(tally):
    """Return a function of rows: the flow's tally as one of ranks."""
    return lambda rows: lambda ranks: tally.of_rows(rows)


def batched(tally, batch_of):
    """Return a function of rows: the tally of mini-batches as one of ranks."""
    return lambda rows: batches(tally, rows, batch_of)


def table_of_kernels(of_kernels):
    """Return the memory and the seconds of one tangent kernel, in lines."""
    square, cube = of_kernels
    lines = [f"{'rows x outputs':>14} {'GB':>9} {'s each on a core':>17}"]
    for n in (10**3, 10**4, 10**5, 10**6):
        gigabytes = kernel_bytes(n, 1, KERNEL_COPIES) / 1e9
        lines.append(
            f"{n:>14.0e} {gigabytes:>9.3g} {square * n**2 + cube * n**3:>17.3g}"
        )
    most = int((GPU_MEMORY / kernel_bytes(1, 1, KERNEL_COPIES)) ** 0.5)
    return [*lines, f"{most:,} of them fill the memory of a GPU"]


def curves_of(cluster, tally):
    """Return the efficiency of the flow by the number of ranks, for the figure."""
    ranks = [2**k for k in range(13)]
    return {
        f"flow, {rows:.0e} rows": {
            "ranks": ranks,
            "efficiency": [cluster.efficiency(flows(tally)(rows), n) for n in ranks],
        }
        for rows in ROWS
    }


def page(sections, results):
    """Return the page of a run, with its tables."""
    text = {name: "\n".join(lines) for name, lines in sections.items()}
    parts = TEMPLATE.read_text("utf-8").split("```")
    parts[::2] = [wrapped(part.format(**facts_of(results))) for part in parts[::2]]
    parts[1::2] = [part.format(**text) for part in parts[1::2]]
    return "```".join(parts).rstrip() + "\n"


def wrapped(text):
    """Return a text whose paragraphs and items have lines of a common length."""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        items = paragraph.split("\n- ")
        if not paragraph.startswith(("#", "\n")) and paragraph.strip():
            items = [
                fill(
                    ("- " if i else "") + " ".join(item.split()),
                    WIDTH,
                    subsequent_indent="  " if i or item.startswith("- ") else "",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
                for i, item in enumerate(items)
            ]
            paragraph = "\n".join(items)
        paragraphs.append(paragraph)
    return "\n\n".join(paragraphs)


def facts_of(results):
    """Return the numbers that the text of the page tells."""
    counted, constants = results["counted"], results["constants"]
    cluster, most = cluster_of(constants), RANKS[-1]
    networks = {"thin": counted, "wide": widened(counted, WIDE)}
    sums = {}
    for name, tally in networks.items():
        parts = cluster.parts(tally, most)
        sums[name] = 1e3 * parts["sums"] / tally.n_gradients
    reading = counted.reading
    told = "; ".join(
        f"by {size}, {100 * middle:.0f} % in the middle and {100 * worst:.0f} % at most"
        for size, (middle, worst) in results["errors"].items()
    )
    limits = results["limits"]
    return {
        "day": f"{date.today()}",
        "minutes": max(1.0, results["seconds"] / 60),
        "errors": told,
        "peak": GPU_PEAK / 1e12,
        "step": BYTES_OF_A_STEP,
        "memory_rate": GPU_MEMORY_RATE / 1e12,
        "memory": GPU_MEMORY / 1e9,
        "gpu_step": 1e6 * GPU_STEP,
        "gpu_rate": GPU_RATE / 1e9,
        "host_step": 1e6 * HOST_STEP,
        "host_rate": HOST_RATE / 1e9,
        "counted_rows": counted.rows,
        "counted_time": results["counted time"],
        "wide": WIDE,
        "epochs": EPOCHS,
        "reasons_rows": ROWS_OF_REASONS,
        "full": rows_to_fill(cluster, counted),
        "full_wide": rows_to_fill(cluster, networks["wide"]),
        "reading_steps": reading.steps(most) / steps_of_a_sum(most),
        "reading_of_many": HOST_STEP * reading.steps(most),
        "calls": counted.training.sums / counted.n_gradients,
        "call_of_many": 1e3 * HOST_STEP * steps_of_a_sum(most),
        "sum_of_many": sums["thin"],
        "sum_wide": sums["wide"],
        "order_seconds": 1e9 * constants[ORDER],
        "order_memory": BYTES_OF_ORDER,
        "kernel_size": results["kernel"][0],
        "kernel_depth": results["kernel"][1],
        "copies": KERNEL_COPIES,
        "least_rows": rows_of_a_rank(limits, "flow, thin"),
        "flow_choice": choice(limits, "flow, thin", "flow, wide"),
        "batch_choice": choice(limits, "batches of 65536", "8192 a rank"),
    }


def rows_to_fill(cluster, tally):
    """Return the rows of a GPU whose work takes as long as a gradient of none."""
    rows = cluster.parts(tally.of_rows(1), 1)["rows"]
    return (cluster.parts(tally, 1)["steps"] - cluster.gpu.get("fit", 0.0)) / rows


def choice(limits, *ways):
    """Return a sentence of the ranks that are used to a half."""
    told = [
        f"{limits[name][i]} ({name}, {ROWS[i]:.0e} rows)"
        for name in ways
        for i in (2, 3)
    ]
    return f"The most GPUs that are used to a half: {', '.join(told)}."


def rows_of_a_rank(limits, name):
    """Return in words how many ranks are used to a half, by the rows of each."""
    told = [f"{limits[name][i]} for {ROWS[i]:.0e} rows" for i in (0, 1, 2, 3)]
    return f"{', '.join(told[:-1])} and {told[-1]}"
