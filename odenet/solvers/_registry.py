"""The solvers by their names."""

from odenet._utils.sklearn_private import StrOptions
from odenet.solvers._adamw import AdamW
from odenet.solvers._flow import Flow
from odenet.solvers._gradient_descent import GradientDescent
from odenet.solvers._sgd import SGD
from odenet.solvers._soap import SOAP

# "auto" is the flow for up to so many distinct samples: a round value. With 250 samples
# the flow scored higher than AdamW on 12 of 12 tables, by .013 in the mean, with 500 on
# 5 of 12, lower by .003; it took 6 and 9 times the seconds (medians, by
# benchmarks/flow_or_adamw.py). The more samples, the more steps do mini-batches take
# for the price of one gradient of all.
MOST_FLOW_ROWS = 500
# Of a loss with a kink it is so only where nothing can be held out to stop mini-batches
# early, below 20 samples. With 100 samples of six tables AdamW had a loss below the
# flow's by 3 % in the mean (above it by 4 to 10 % where there is much noise, below by
# 18 % where there is little), with 250 of four one above it by 2 %, and a fit took at
# most 3 s in place of 152 s (`python benchmarks/kinks.py`).
MOST_FLOW_ROWS_OF_A_KINK = 19
# More samples than this are very many: a round value, between 15,000 where AdamW is as
# good for classes, and 32,000 and 80,000 where SOAP is (benchmarks/adamw_or_soap.py).
MANY_ROWS = 20_000

# One line for each solver. Estimators, files and tests read it when they need it, so
# that solvers can also be added later.
SOLVERS = {
    "flow": Flow,
    "gd": GradientDescent,
    "sgd": SGD,
    "adamw": AdamW,
    "soap": SOAP,
}


def resolve_solver(solver, n_rows=0, flow_time=None, loss=None):
    """Return the solver object behind a name, or the object itself, validated.

    Parameters
    ----------
    solver : {"auto", "flow", "gd", "sgd", "adamw", "soap"} or solver object
    n_rows : int, default=0
        Number of distinct training samples, for "auto".
    flow_time : float, default=None
        The horizon that is asked for, for "auto".
    loss : Loss, default=None
        What is made small, for "auto"; None is a loss without a kink, for AdamW.

    Returns
    -------
    solver : solver object

    Raises
    ------
    ValueError
        If there is no solver of that name, or a setting is not allowed.

    Examples
    --------
    >>> from odenet.solvers import resolve_solver
    >>> resolve_solver("auto", n_rows=100), resolve_solver("auto", n_rows=1000)
    (Flow(), AdamW())
    """
    if isinstance(solver, str):
        if solver == "auto":
            has_kink = loss is not None and loss.has_kink
            most = MOST_FLOW_ROWS_OF_A_KINK if has_kink else MOST_FLOW_ROWS
            is_flow = n_rows <= most or flow_time is not None
            solver = "flow" if is_flow else _solver_of_many(n_rows, loss)
        solver = _class_named(solver)()
    solver.validate()
    return solver


def _solver_of_many(n_rows, loss):
    """Return the name of the solver of a loss that has too many samples for a flow."""
    if loss is None:
        return "adamw"
    of_very_many = loss.solver_of_very_many if n_rows > MANY_ROWS else None
    return of_very_many or loss.solver_of_many


class SolverNames(StrOptions):
    """A constraint for parameters: "auto", or a name that SOLVERS has at that time."""

    def __init__(self):
        super().__init__({"auto"})

    @property
    def options(self):
        """The names that are allowed now."""
        return {*SOLVERS, "auto"}

    @options.setter
    def options(self, names):
        """Accept what scikit-learn stores, which the registry replaces."""


def _class_named(name):
    """Return the class of the solvers of a name."""
    if name not in SOLVERS:
        raise ValueError(
            f"`solver` must be 'auto', a solver object or one of {sorted(SOLVERS)}, "
            f"got {name!r}."
        )
    return SOLVERS[name]
