"""The solvers by their names."""

from odenet.solvers._adamw import AdamW
from odenet.solvers._flow import Flow
from odenet.solvers._gradient_descent import GradientDescent
from odenet.solvers._sgd import SGD

MOST_FLOW_ROWS = 500  # distinct samples up to which "auto" is the flow

SOLVERS = {"flow": Flow, "gd": GradientDescent, "sgd": SGD, "adamw": AdamW}


def resolve_solver(solver, n_rows=0, flow_time=None):
    """The solver object behind a name, or the object itself, validated.

    Parameters
    ----------
    solver : {"auto", "flow", "gd", "sgd", "adamw"} or solver object
    n_rows : int, default=0
        Number of distinct training samples, for "auto".
    flow_time : float, default=None
        The horizon that is asked for, for "auto".

    Returns
    -------
    solver : solver object

    Raises
    ------
    ValueError
        If a setting is not allowed.

    Examples
    --------
    >>> from odenet.solvers import resolve_solver
    >>> resolve_solver("auto", n_rows=100), resolve_solver("auto", n_rows=1000)
    (Flow(), AdamW())
    """
    if isinstance(solver, str):
        if solver == "auto":
            is_flow = n_rows <= MOST_FLOW_ROWS or flow_time is not None
            solver = "flow" if is_flow else "adamw"
        solver = SOLVERS[solver]()
    solver.validate()
    return solver


def has_mini_batches(estimator):
    """Whether the solver of an estimator trains on mini-batches."""
    return resolve_solver(estimator.solver).batch_size is not None


def takes_parts(estimator):
    """Whether an estimator can be trained on one part of the data at a time."""
    solver = estimator._resolve_solver()
    if solver.batch_size is not None and solver.has_constant_rate:
        return True
    raise AttributeError(
        "partial_fit needs a solver of mini-batches with a constant rate, as "
        f"solver='adamw' or solver='sgd' are, got solver={estimator.solver!r}."
    )
