"""A description of a fitted estimator: a text, a table for notebooks, its history.

The functions read public attributes of a fitted estimator only.
"""

from dataclasses import fields, is_dataclass
from html import escape
from numbers import Real

import numpy as np

from odenet._losses.squared_error import SquaredError
from odenet._training.history import history_columns
from odenet._utils.sklearn_private import check_pandas_support

NAME_WIDTH = 10  # the length of the longest name in a text, "smoothness"
ROW = (  # a row of an HTML table: a name and a text
    '<tr><th style="text-align: left">{}</th><td style="text-align: left">{}</td></tr>'
)


def facts(model, contents, *, n_monotonic=0, loss=None):
    """Return facts about a fitted estimator, in the order in which they are shown.

    Parameters
    ----------
    model : fitted estimator of odenet
    contents : str
        What a sample holds.
    n_monotonic : int, default=0
        Number of columns in which it is monotone.
    loss : Loss, default=None
        The loss of a regression; None is the one that all estimators of a kind have.

    Returns
    -------
    facts : list of tuple (name, text)
        Facts about the samples, the network, the training, the losses and the
        smoothness of the weights in depth, and about the gap to the neural ODE if there
        is one.
    """
    said = [("search", _say_search(model))] if hasattr(model, "cv_results_") else []
    said += [
        ("samples", _say_samples(model, contents)),
        ("network", _say_network(model.module_, n_monotonic)),
        ("training", _say_training(model)),
        ("loss", _say_loss(loss) + _say_losses(model)),
        ("smoothness", _say_smoothness(model.depth_smoothness_, model.module_.depth)),
    ]
    if hasattr(model, "ode_gap"):  # The estimator of images has no neural ODE.
        # A model that was pickled before gaps were recorded lacks the attribute.
        said.append(("gap", _say_gap(getattr(model, "ode_gap_", None))))
    return said


def summary_text(title, facts):
    """Return a title and facts as lines of text.

    Parameters
    ----------
    title : str
    facts : list of tuple (name, text)

    Returns
    -------
    summary : str
    """
    lines = [f"{name:<{NAME_WIDTH}}  {text}" for name, text in facts]
    return "\n".join([title, *lines])


def history_frame(history):
    """Return the history of a training as a data frame.

    Parameters
    ----------
    history : list of dict
        The history of a skorch net.

    Returns
    -------
    frame : pandas.DataFrame

    Raises
    ------
    AttributeError
        If pandas is missing. It is not an ImportError, because scikit-learn and
        notebooks read all attributes of an estimator, and expect only this error.
    """
    try:
        pandas = check_pandas_support("history_")
    except ImportError as error:
        raise AttributeError(
            f"{error} Install it by `pip install pandas`, or take the rows from "
            "`net_.history`."
        ) from error
    return pandas.DataFrame(history_columns(history))


def is_judged_by_score(model):
    """Tell whether held-out samples judge a training by a score, not by their loss."""
    is_loss = isinstance(model.scoring, str) and model.scoring == "loss"
    return model.early_stopping is not False and not is_loss


def score_name(model):
    """Return the name of the score of held-out samples.

    It is that of ``scoring`` where that judges the training, and that of the loss
    otherwise, such as R2 or the accuracy.
    """
    scoring = model.scoring if is_judged_by_score(model) else None
    return model.net_.loss.score_name if scoring is None else scorer_name(scoring)


def scorer_name(scoring):
    """Return a name for the parameter ``scoring``: a name itself, or a callable."""
    if isinstance(scoring, str):
        return scoring
    return getattr(scoring, "__name__", None) or str(scoring)


def with_summary(html, facts):
    """Return scikit-learn's picture of an estimator with a table of facts below it.

    Parameters
    ----------
    html : str
        A whole page, or a part of one.
    facts : list of tuple (name, text)

    Returns
    -------
    html : str
    """
    rows = (ROW.format(escape(name), escape(text)) for name, text in facts)
    table = f'<table class="odenet-summary">{"".join(rows)}</table>'
    before, end, after = html.rpartition("</body>")
    return before + table + end + after if end else html + table


def _say_search(model):
    """Say how many pairs a search has tried, and the best mean score."""
    (n_pairs,) = model.cv_results_["param_depth"].shape
    return (
        f"{n_pairs} pairs of depth and flow time on {model.n_splits_} folds; "
        f"best mean score {model.best_score_:.4g}"
    )


def _say_samples(model, contents):
    """Say how many samples a model was fitted to, and what they hold.

    A model of an old file does not know how many they were.
    """
    n_samples = getattr(model, "n_samples_fit_", None)
    return contents if n_samples is None else f"{n_samples:,} of {contents}"


def _say_network(network, n_monotonic):
    """Say how large a network is, and in how many columns it is monotone."""
    n_parameters = sum(p.numel() for p in network.parameters())
    imitated = network.imitated_depth
    several = f"{network.n_models} members of " if network.n_models > 1 else ""
    return (
        f"{several}{network.depth} layers"
        + (f" that imitate {imitated}" if imitated is not None else "")
        + f", state {network.state_dim}, width {network.width}, "
        f"{network.activation}"
        + (f", monotone in {n_monotonic} column(s)" if n_monotonic else "")
        + f": {n_parameters:,} parameters"
    )


def _say_training(model):
    """Say how a model was trained, what the training cost, and why it ended."""
    how = type(model.solver_).__name__
    method = getattr(model.solver_, "method", None)
    if method is not None:
        how += f" ({method})"
    if model.flow_time_ is not None:
        how += f" to flow time {model.flow_time_:.4g}"
    # skorch adds the duration of a step at its end: an interrupted step has none.
    seconds = sum(row.get("dur", 0.0) for row in model.net_.history)
    return (
        f"{how}, {model.n_grad_evals_:,} gradients, {seconds:.3g} s; "
        f"stopped by {model.stop_reason_}"
    )


def _say_loss(loss):
    """Say which loss it is, with its numbers, if it is another one than by default."""
    if loss is None or loss == SquaredError():
        return ""
    name = type(loss).__name__ if loss.name == "loss" else loss.name
    numbers = []
    for field in fields(loss) if is_dataclass(loss) else ():
        values = getattr(loss, field.name)
        values = values if isinstance(values, tuple) else (values,)
        if all(isinstance(value, Real) for value in values):
            numbers.append(f"{field.name} {', '.join(f'{v:.4g}' for v in values)}")
    return name + (f" ({'; '.join(numbers)})" if numbers else "") + ": "


def _say_losses(model):
    """Say the loss of the model, and of held-out samples by which it was chosen.

    Of these there is a score as well.

    A model that has only seen parts of a stream has the loss of the last part, and one
    of an old file that of its last step.
    """
    training, held_out = model.loss_curve_, model.validation_loss_curve_
    if not training and not held_out:
        return "none: nothing was trained"
    loss = getattr(model, "loss_", None)
    if loss is None and training:
        loss = training[-1]
    parts = [] if loss is None else [f"{loss:.4g} (training)"]
    if held_out:
        times = model.validation_flow_times_ or []
        is_known = model.flow_time_ in times
        best = times.index(model.flow_time_) if is_known else int(np.argmin(held_out))
        score = f"{score_name(model)} {model.validation_scores_[best]:.3g}"
        parts.append(f"{held_out[best]:.4g} (held out, {score})")
    if getattr(model, "temperature_", 1.0) != 1:
        parts.append(f"temperature {model.temperature_:.3g}")
    return ", ".join(parts)


def _say_smoothness(smoothness, depth):
    """Say how smooth the weights are, and how a line and independent layers compare.

    The ratio of a straight line of L points is 6 / (L^2 - 1): its steps all have the
    length 1, and the variance of its points is (L^2 - 1) / 12. Two layers are always on
    a straight line, so that for fewer than three layers the comparison says nothing.
    """
    text = (
        f"Lipschitz constant {smoothness.lipschitz:.3g}, "
        f"von Neumann ratio {smoothness.von_neumann_ratio:.2g}"
    )
    if depth < 3:
        return text
    return f"{text} (straight line {6 / (depth**2 - 1):.2g}, independent layers 1)"


def _say_gap(gap):
    """Say how far the network is from its neural ODE; NaN says that it has none."""
    if gap is None:
        return "not measured: see ode_gap(X)"
    if gap != gap:
        return "none: the weights are not smooth in depth"
    return f"{gap:.2g} of the output, to the neural ODE (estimated)"


def told_by(predictor):
    """Return what a predictor tells a summary, as keywords of ``facts``.

    "contents" are words for what a sample holds, and for its labels if it has several.
    """
    inputs, targets = predictor.inputs, predictor.targets
    contents = inputs.contents(), targets.contents()
    told = {"contents": "; ".join(text for text in contents if text)}
    if predictor.network.monotonicity is not None:
        constrained = np.flatnonzero(predictor.network.monotonicity.inputs)
        told["n_monotonic"] = len(np.unique(inputs.encoder.sources[constrained]))
    if not targets.has_classes:
        told["loss"] = targets.loss
    return told
