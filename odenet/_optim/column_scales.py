r"""Learned scales of the columns of a matrix, which belong to the inputs of a network.

An optimizer that divides gradients by their sizes moves the columns of all inputs by
steps of one length. But the same number comes in several forms here, as itself, as its
score and as shares of bins, and one form may tell more than another. So the matrix is
taken for a product, :math:`A = \bar A \operatorname{diag}(s)`, as if every input were
multiplied by a number s that is learned: the scaling layer of Holzmüller, Grinsztajn
and Steinwart (*Better by default: strong pre-tuned MLPs and boosted trees on tabular
data*, NeurIPS 2024). Steps of a column are in proportion to its scale then. Only A is
kept; gradients by :math:`\bar A` and :math:`\log s` follow from that by A.
"""

from contextlib import contextmanager

import torch

from odenet._optim.depth_adamw import adam_step

# Bounds of the logarithms of scales, of about 1/10 and 10: a round value.
LARGEST_LOG = 2.3


@contextmanager
def scaled_columns(p, state, group):
    r"""Let a step move :math:`\bar A` in the place of A; then take one of the scales.

    Logarithms of scales are moved by Adam, at the same rate. Their mean is zero: what
    all scales share is left to the matrix.

    Parameters
    ----------
    p : Parameter of shape (..., n_rows, n_columns)
        The matrix A, with its gradient.
    state : dict
        Keeps the logarithms, of shape (..., 1, n_columns), under "scales", and under
        "of_scales" what Adam knows of them.
    group : dict
        The group of the parameter, see :func:`odenet._optim.depth_adamw.adam_step`.
    """
    by_matrix = p.grad
    by_logs = (p * by_matrix).sum(dim=-2, keepdim=True)
    if "scales" not in state:
        state["scales"], state["of_scales"] = torch.zeros_like(by_logs), {}
    logs = state["scales"]
    scales = logs.exp()
    p.div_(scales)
    p.grad = by_matrix * scales
    yield
    p.grad = by_matrix
    adam_step(logs, by_logs, state["of_scales"], group)
    logs.sub_(logs.mean(dim=-1, keepdim=True)).clamp_(-LARGEST_LOG, LARGEST_LOG)
    p.mul_(logs.exp())
