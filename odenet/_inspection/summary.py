"""A fitted estimator in words: a text, a table for notebooks, and its history.

The functions read public attributes of a fitted estimator only.
"""

from html import escape

from odenet._training.history import history_columns
from odenet._utils.sklearn_private import check_pandas_support

NAME_WIDTH = 10  # Columns of the names in a text, as many as "smoothness" takes.
ROW = (
    '<tr><th style="text-align: left">{}</th><td style="text-align: left">{}</td></tr>'
)


def facts(model):
    """Return what there is to say of a fitted estimator, in the order to say it.

    Parameters
    ----------
    model : fitted estimator of odenet

    Returns
    -------
    facts : list of tuple (name, text)
        Of the network, the training, the losses and the smoothness of the weights in
        depth; and of the gap to the neural ODE, if the estimator has one.
    """
    said = [("search", _say_search(model))] if hasattr(model, "cv_results_") else []
    said += [
        ("network", _say_network(model.module_)),
        ("training", _say_training(model)),
        ("loss", _say_losses(model.loss_curve_, model.validation_loss_curve_)),
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
        If pandas is missing. This is no ImportError, since scikit-learn and notebooks
        ask an estimator for all of its attributes, and expect just this error.
    """
    try:
        pandas = check_pandas_support("history_")
    except ImportError as error:
        raise AttributeError(
            f"{error} Install it by `pip install pandas`, or take the rows from "
            "`net_.history`."
        ) from error
    return pandas.DataFrame(history_columns(history))


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
    """Say what a search has tried, and how good the best was."""
    (n_pairs,) = model.cv_results_["param_depth"].shape
    return (
        f"{n_pairs} pairs of depth and flow time on {model.n_splits_} folds; "
        f"best mean score {model.best_score_:.4g}"
    )


def _say_network(network):
    """Say how large a network is."""
    n_parameters = sum(p.numel() for p in network.parameters())
    imitated = network.imitated_depth
    return (
        f"{network.depth} layers"
        + (f" that imitate {imitated}" if imitated is not None else "")
        + f", state {network.state_dim}, width {network.width}, "
        f"{network.activation}: {n_parameters:,} parameters"
    )


def _say_training(model):
    """Say how a model was trained, what that took, and why it ended."""
    how = type(model.solver_).__name__
    if model.flow_time_ is not None:
        how += f" to flow time {model.flow_time_:.4g}"
    # skorch adds the duration of a step at its end: an interrupted step has none.
    seconds = sum(row.get("dur", 0.0) for row in model.net_.history)
    return (
        f"{how}, {model.n_grad_evals_:,} gradients, {seconds:.3g} s; "
        f"stopped by {model.stop_reason_}"
    )


def _say_losses(training, held_out):
    """Say the last loss of the training and the lowest one of held-out samples."""
    parts = [f"{training[-1]:.4g} (training)"] if training else []
    parts += [f"{min(held_out):.4g} (held out)"] if held_out else []
    return ", ".join(parts) or "none: nothing was trained"


def _say_smoothness(smoothness, depth):
    """Say how smooth weights are, beside a straight line and independent layers.

    The ratio of a straight line of L points is 6 / (L^2 - 1): its steps are of one
    length, 1, and its variance, divided by L, is (L^2 - 1) / 12. Two layers are always
    on a straight line, so for fewer than three the comparison would say nothing.
    """
    text = (
        f"Lipschitz constant {smoothness.lipschitz:.3g}, "
        f"von Neumann ratio {smoothness.von_neumann_ratio:.2g}"
    )
    if depth < 3:
        return text
    return f"{text} (straight line {6 / (depth**2 - 1):.2g}, independent layers 1)"


def _say_gap(gap):
    """Say how far the network is from its neural ODE; NaN is no gap at all."""
    if gap is None:
        return "not measured: see ode_gap(X)"
    if gap != gap:
        return "none: the weights are not smooth in depth"
    return f"{gap:.2g} of the output, to the neural ODE (estimated)"
