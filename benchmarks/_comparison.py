"""Comparison of models on data sets: ranks, summaries, tables and a figure.

All of it is made from rows of results. ``rows`` is a dict by set, model and number of
the split. A row has "task", "score" and "seconds", or an "error"; other columns are
optional.
"""

from functools import partial
from math import floor, inf, log10, sqrt
from statistics import mean, median, stdev

import numpy as np
from _tables import published
from scipy.stats import rankdata, studentized_range

# The models of this package, and those that they are compared with first.
OWN = ("odenet", "odenet 5", "odenet CV")
PERCEPTRONS = ("MLP", "MLP 1000")


# Rows


def values(rows, name, model, key):
    """Return a column of a model's rows by split; empty if any split has failed."""
    own = {split: row for (n, m, split), row in rows.items() if (n, m) == (name, model)}
    if any("error" in row for row in own.values()):
        return {}
    return {split: row[key] for split, row in own.items() if row.get(key) is not None}


def common_means(rows, name, models, key="score"):
    """Return means by model over the splits that all of them have, or None."""
    by_model = {model: values(rows, name, model, key) for model in models}
    common = set.intersection(*map(set, by_model.values()))
    if not common:
        return None
    return {m: mean(own[split] for split in common) for m, own in by_model.items()}


def is_regression(rows, name):
    return any(n == name and r["task"] == "regression" for (n, _, _), r in rows.items())


# Ranks


def mean_ranks(rows, names, models, key="score"):
    """Return the mean ranks of models over sets, with their critical difference."""
    if len(models) < 2:
        return None
    means = {name: common_means(rows, name, models, key) for name in names}
    ranks = [
        rankdata([sign(rows, name, key) * s for s in scores.values()])
        for name, scores in means.items()
        if scores
    ]
    if not ranks:
        return None
    return {
        "key": key,
        "sets": len(ranks),
        "ranks": dict(zip(models, np.mean(ranks, axis=0).tolist(), strict=True)),
        "critical_difference": critical_difference(len(models), len(ranks)),
    }


def sign(rows, name, key):
    """Return 1 where lower values of a column are better, else -1."""
    return 1 if key != "score" or is_regression(rows, name) else -1


def critical_difference(n_models, n_sets, level=0.05):
    """Return Nemenyi's critical difference of the mean ranks of k models on n sets.

    It is q / sqrt(2) * sqrt(k (k + 1) / (6 n)), with q of the studentised range.
    """
    q = studentized_range.ppf(1 - level, n_models, inf) / sqrt(2)
    return float(q * sqrt(n_models * (n_models + 1) / (6 * n_sets)))


def all_ranks(rows, names, models, key="score"):
    """Rank the models that have all sets, and all models on the sets that all have."""
    has = {(n, m): bool(values(rows, n, m, key)) for n in names for m in models}
    models = [m for m in models if any(has[n, m] for n in names)]
    complete = [m for m in models if all(has[n, m] for n in names)]
    shared = [n for n in names if all(has[n, m] for m in models)]
    both = [mean_ranks(rows, names, complete, key)]
    if complete != models:
        both.append(mean_ranks(rows, shared, models, key))
    return [ranks for ranks in both if ranks]


def wins(rows, names, model):
    """Count the sets on which a model is better than each other, and those of both.

    Returns
    -------
    wins : dict
        By the name of the other model, a number of wins, a tie being half a one, and a
        number of sets.
    """
    found = {}
    for other in dict.fromkeys(m for _, m, _ in rows if m != model):
        pairs = [
            (sign(rows, name, "score"), *means.values())
            for name in names
            if (means := common_means(rows, name, (model, other)))
        ]
        won = sum((s * a < s * b) + 0.5 * (a == b) for s, a, b in pairs)
        found[other] = won, len(pairs)
    return found


# Summary


def gains(rows, names, model, others):
    """Return the relative gain on the best other model by set; a loss is negative."""
    result = {}
    for name in names:
        means = common_means(rows, name, (model, *others))
        if means and is_regression(rows, name):
            result[name] = 1 - means[model] / min(means[other] for other in others)
        elif means:
            result[name] = means[model] / max(means[other] for other in others) - 1
    return result


def summarise(rows, names, model, ranks):
    """Count the wins and losses of one model, and collect its other numbers."""
    on_mlp = gains(rows, names, model, PERCEPTRONS)
    on_linear = gains(rows, names, model, ("linear",))
    own = [row for (_, m, _), row in rows.items() if m == model]
    ratios = seconds_ratios(rows, names, model, "MLP 1000")
    return {
        "model": model,
        "sets": len({row["data"] for row in own}),
        "errors": sum("error" in row for row in own),
        "better_than_mlp": [name for name, gain in on_mlp.items() if gain > 0],
        "equal_to_mlp": [name for name, gain in on_mlp.items() if gain == 0],
        "worse_than_mlp": [name for name, gain in on_mlp.items() if gain < 0],
        "ranks": [rank_beside_mlp(table["ranks"], model) for table in ranks],
        "least_gain_on_linear": min(
            ((gain, name) for name, gain in on_linear.items()), default=None
        ),
        "seconds_of_mlp_1000": median(ratios) if ratios else None,
        "most_seconds": greatest(own, "seconds"),
        "greatest_von_neumann_ratio": greatest(own, "von_neumann_ratio"),
    }


def seconds_ratios(rows, names, model, other):
    both = (common_means(rows, name, (model, other), "seconds") for name in names)
    return [means[model] / means[other] for means in both if means]


def rank_beside_mlp(ranks, model):
    """Return the mean rank, and how far it is behind that of the better perceptron."""
    better = min((ranks[name] for name in PERCEPTRONS if name in ranks), default=None)
    if model not in ranks or better is None:
        return None
    return ranks[model], ranks[model] - better


def greatest(rows, key):
    """Return the greatest value and its set."""
    pairs = ((row[key], row["data"]) for row in rows if row.get(key) is not None)
    return max(pairs, default=None)


# Tables


def show(rows, models):
    """Print all tables, with models in this order; return ranks and summaries."""
    names = list(dict.fromkeys(name for name, _, _ in rows))
    models = [m for m in models if any(m == model for _, model, _ in rows)]
    classified = [name for name in names if not is_regression(rows, name)]
    show_grid(
        "scores, and in brackets the standard error in their last digits; published",
        [name for name in names if name not in classified] + classified,
        models,
        partial(score_cell, rows),
        lambda name: ", ".join(f"{k} {v}" for k, v in published(name).items()),
    )
    show_grid("median seconds of a fit", names, models, partial(seconds_cell, rows))
    if classified:
        title = "log loss/Brier score"
        show_grid(title, classified, models, partial(probability_cell, rows))
    ranks = all_ranks(rows, names, models)
    of_losses = all_ranks(rows, classified, models, "log_loss") if classified else []
    for table in (*ranks, *of_losses):
        show_ranks(**table)
    own = [model for model in OWN if model in models]
    won = {model: wins(rows, names, model) for model in own}
    for model, others in won.items():
        show_wins(model, others)
    summaries = [summarise(rows, names, model, ranks) for model in own]
    for summary in summaries:
        show_summary(summary, ranks)
    return {
        "ranks": ranks,
        "log_loss_ranks": of_losses,
        "wins": won,
        "summaries": summaries,
    }


def show_grid(title, names, models, text, end=lambda name: ""):
    print(f"\n{title}\n{'':<25}" + "".join(f" {model:>13}" for model in models))
    for name in names:
        cells = "".join(f" {text(name, model):>13}" for model in models)
        print(f"{name:<25}{cells}  {end(name)}".rstrip())


def score_cell(rows, name, model):
    """Write a mean score with its error: 4.82(12) has a standard error of 0.12."""
    own = list(values(rows, name, model, "score").values())
    if not own:
        return "error" if any((name, model) == key[:2] for key in rows) else "-"
    error = stdev(own) / sqrt(len(own)) if len(own) > 1 else 0.0
    if not 0 < error < inf:
        return f"{mean(own):.4g}"
    digits = max(0, 1 - floor(log10(error)))
    return f"{mean(own):.{digits}f}({round(error * 10**digits)})"


def seconds_cell(rows, name, model):
    own = values(rows, name, model, "seconds").values()
    return f"{median(own):.2f}" if own else "-"


def probability_cell(rows, name, model):
    both = [values(rows, name, model, key).values() for key in ("log_loss", "brier")]
    return "/".join(f"{mean(own):.3f}" for own in both) if all(both) else "-"


def show_ranks(key, sets, ranks, critical_difference):
    print(
        f"\nmean ranks by {key.replace('_', ' ')} on {sets} sets, critical difference "
        f"{critical_difference:.2f}"
    )
    for model, rank in sorted(ranks.items(), key=lambda item: item[1]):
        print(f"{rank:>6.2f}  {model}")


def show_wins(model, others):
    cells = ", ".join(f"{other} {won:g} of {n}" for other, (won, n) in others.items())
    print(f"\nsets won by {model} against: {cells}")


def show_summary(summary, ranks):
    print(f"\n{summary['model']}: {summary['sets']} sets, {summary['errors']} errors")
    for outcome in ("better_than_mlp", "equal_to_mlp", "worse_than_mlp"):
        names = summary[outcome]
        text = outcome.replace("_", " ").replace("mlp", "the better MLP")
        print(f"  {text}: {len(names)} {' '.join(names)}".rstrip())
    for pair, table in zip(summary["ranks"], ranks, strict=True):
        if pair:
            print(
                f"  mean rank on {table['sets']} sets: {pair[0]:.2f}, {pair[1]:+.2f} "
                f"beside the MLPs ({table['critical_difference']:.2f} is critical)"
            )
    if summary["least_gain_on_linear"]:
        gain, name = summary["least_gain_on_linear"]
        print(f"  least gain on linear: {gain:+.1%} ({name})")
    if summary["seconds_of_mlp_1000"] is not None:
        print(f"  median of seconds / MLP 1000: {summary['seconds_of_mlp_1000']:.2f}")
    for key in ("most_seconds", "greatest_von_neumann_ratio"):
        if summary[key]:
            value, name = summary[key]
            print(f"  {key.replace('_', ' ')}: {value:.3g} ({name})")


def draw(figure, results):
    """Draw mean ranks with bars of half a critical difference.

    Two models are told apart if their bars do not meet.
    """
    axes = np.ravel(figure.subplots(max(1, len(results["ranks"])), squeeze=False))
    for axis, table in zip(axes, results["ranks"], strict=False):
        ranks = sorted(table["ranks"].items(), key=lambda item: -item[1])
        models, places = zip(*ranks, strict=True)
        half = table["critical_difference"] / 2
        axis.errorbar(places, models, xerr=half, fmt="o", capsize=3)
        axis.set_xlabel(
            f"mean rank on {table['sets']} sets, ± half a critical difference"
        )
