"""The losses of a regression by their names."""

from odenet._losses.absolute_error import AbsoluteError
from odenet._losses.gamma import Gamma
from odenet._losses.huber import Huber
from odenet._losses.poisson import Poisson
from odenet._losses.quantile import Quantile
from odenet._losses.squared_error import SquaredError

# A line for every loss, under the name that a user gives. Estimators, files and tests
# read it when they need it, so that losses can also be added later.
LOSSES = {
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
    "huber": Huber,
    "poisson": Poisson,
    "gamma": Gamma,
    "quantile": Quantile,
}


def resolve_loss(loss, quantile=0.5):
    """Return the loss behind a name, or the object itself.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "huber", "poisson", "gamma", \
            "quantile"} or Loss
    quantile : float or sequence of float, default=0.5
        Of the loss "quantile". The others do not use it.

    Returns
    -------
    loss : Loss

    Raises
    ------
    ValueError
        If there is no loss of that name, or the quantiles are not between 0 and 1 in
        ascending order.

    Examples
    --------
    >>> from odenet.losses import resolve_loss
    >>> resolve_loss("quantile", [0.1, 0.9])
    Quantile(quantile=(0.1, 0.9), smoothing=0.05)
    """
    if not isinstance(loss, str):
        return loss
    if loss not in LOSSES:
        raise ValueError(
            f"`loss` must be a loss object or one of {list(LOSSES)}, got {loss!r}."
        )
    kind = LOSSES[loss]
    return kind(quantile) if kind is Quantile else kind()


def as_given(loss):
    """Return a text of a loss as a user gives it: by its name if it has one."""
    names = [name for name, kind in LOSSES.items() if kind is type(loss)]
    return repr(names[0]) if names else repr(loss)
