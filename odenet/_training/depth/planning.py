"""Which depths a training is to go through."""

from odenet._diagnostics.gap import is_rough
from odenet._training.depth.depths import depths_to_walk
from odenet._training.depth.in_stages import stages_of


def planned_depths(network, *, depth, schedule, init, in_stages, goes_on):
    """Return the depths to train a network at, in ascending order.

    Parameters
    ----------
    network : nn.Module
        At the start of the training.
    depth : int or "auto"
    schedule : "doubling", array-like of int, or None
    init : str or scheme
        What the weights come from, for the error.
    in_stages : bool
        Whether the solver trains on mini-batches, where every depth is a stage.
    goes_on : bool
        Whether an earlier training is continued: it has its depth already, and "auto"
        can only raise it.

    Returns
    -------
    depths : list of int

    Raises
    ------
    ValueError
        If the schedule has no such depth, or if depth="auto" meets weights that are not
        smooth in depth.
    """
    if goes_on and depth != "auto":
        return [network.depth]
    if goes_on:
        deeper = (d for d in depths_to_walk("auto", "doubling") if d > network.depth)
        return [network.depth, *deeper]
    depths = depths_to_walk(depth, schedule)
    if not isinstance(schedule, str):
        return depths
    if not is_rough(network):
        return stages_of(depths) if in_stages else depths
    if depth == "auto":
        raise ValueError(
            f"`depth='auto'` needs a start that is smooth in depth, got init={init!r}: "
            "its gap to a neural ODE would not close."
        )
    return depths[-1:]
