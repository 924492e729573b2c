"""SOAP for weights that are functions of depth."""

from math import ceil

import torch
from torch.nn.functional import pad

from odenet._optim.column_scales import scaled_columns
from odenet._optim.depth_adamw import DepthAdamW, meets_inputs
from odenet._optim.eigenvectors import eigh

# Steps between two turns of the bases, and how much of the old second moments a step
# keeps: those of the paper.
STEPS_BETWEEN_TURNS = 10
KEPT = 0.95
# The least size of a coordinate, as a share of the root mean square of all. A turned
# gradient has coordinates in which there is nothing but rounding, some 1e-7 of the
# others: divided by its own size, that would be a step of full length, at random in
# every layer. A round value in between.
LEAST_SHARE = 1e-4
# The most rows or columns of a side that has a basis: a round value. Turns take the
# cube of it. A longer side, as of a table of many words, keeps its own coordinates.
LONGEST_SIDE = 512
# Longer sides that are to have a basis all the same, as columns of many bins, turn less
# often, and have bases of blocks of at most so many columns. Round values: turns after
# 10 or 30 steps are no better; moments of one gradient in ten are worse, and so are
# blocks of 256 columns.
STEPS_BETWEEN_LONG_TURNS = 100
LARGEST_BLOCK = 1024


class DepthSOAP(DepthAdamW):
    r"""Adam in the eigenbasis of the gradients' second moments, one for all layers.

    SOAP (Vyas, Morwani, Zhao, Kwun, Shapira, Brandfonbrener, Janson and Kakade, *SOAP:
    Improving and Stabilizing Shampoo using Adam*, ICLR 2025) turns the gradient of a
    matrix into the coordinates in which its entries are least correlated, the
    eigenvectors of the running means of :math:`g g^T` and :math:`g^T g`, and runs Adam
    there. Here these means, and the second moments of Adam, are means over depth too,

    .. math::
        \bar L \leftarrow \beta \bar L + (1 - \beta) \frac1L \sum_k g_k g_k^T, \qquad
        \bar R \leftarrow \beta \bar R + (1 - \beta) \frac1L \sum_k g_k^T g_k,

    so that a step is one linear map of the momentum, the same at all depths: it is as
    smooth in depth as the gradient is, like that of :class:`DepthAdamW`.

    The columns of the matrix that the inputs meet have learned scales besides, see
    :mod:`odenet._optim.column_scales`. Of more than 1024 columns that have a basis,
    blocks of equal length are taken for matrices of their own.

    Parameters
    ----------
    groups, learning_rate, betas, eps, weight_decay :
        As of :class:`DepthAdamW`; parameters are matrices, with the axes of depth and
        of models in front.
    longest_side : int, default=512
        The most rows or columns that have a basis. A group may have its own.
    """

    def __init__(self, groups, learning_rate, longest_side=LONGEST_SIDE, **settings):
        groups = [{"longest_side": longest_side, **group} for group in groups]
        super().__init__(groups, learning_rate, **settings)

    def move(self, p, group):
        """Move one parameter, with the scales of its columns if those are inputs."""
        if meets_inputs(p, group):
            with scaled_columns(p, self.state[p], group):
                self._move_in_basis(p, group)
        else:
            self._move_in_basis(p, group)

    def _move_in_basis(self, p, group):
        """Move one parameter in its basis, and turn that at times."""
        state, has_depth = self.state[p], bool(group.get("has_depth"))
        if "n_steps" not in state:
            self._begin(state, p, group)
        state["n_steps"] += 1
        momentum, decay = group["betas"]
        n_blocks = state.get("n_blocks", 1)  # which records of before lack
        along_axes = _in_blocks(p.grad, n_blocks)
        gradient = _turned(along_axes, state["bases"])
        square = gradient.square()
        state["mean"].lerp_(gradient, 1 - momentum)
        state["size"].lerp_(square.mean(dim=0) if has_depth else square, 1 - decay)
        n_steps, rate = state["n_steps"], group["lr"]
        scale = (state["size"] / (1 - decay**n_steps)).sqrt_()
        usual = scale.square().mean(dim=(-2, -1), keepdim=True).sqrt_()
        scale = scale.add_(usual, alpha=LEAST_SHARE).add_(group["eps"])
        step = _turned_back(state["mean"] / scale, state["bases"])
        step = _out_of_blocks(step, n_blocks, p.shape[-1])
        p.add_(step, alpha=-rate / (1 - momentum**n_steps))
        has_basis = [basis is not None for basis in state["bases"]]
        moments = _second_moments(along_axes, has_depth, has_basis)
        for kept, moment in zip(state["moments"], moments, strict=True):
            if kept is not None:
                kept.lerp_(moment, 1 - KEPT)
        if n_steps % _steps_between_turns(state["bases"]) == 0:
            self._turn(state)

    def _begin(self, state, p, group):
        """Begin with the eigenvectors of the first gradient."""
        has_depth = bool(group.get("has_depth"))
        longest = group.get("longest_side", LONGEST_SIDE)  # some records have none
        n_rows, n_columns = p.shape[-2:]
        has_basis = n_rows <= longest, n_columns <= longest
        state["n_steps"] = 0
        state["n_blocks"] = ceil(n_columns / LARGEST_BLOCK) if has_basis[1] else 1
        gradient = _in_blocks(p.grad, state["n_blocks"])
        state["moments"] = _second_moments(gradient, has_depth, has_basis)
        state["bases"] = tuple(map(_eigenvectors, state["moments"]))
        state["mean"] = torch.zeros_like(gradient)
        state["size"] = torch.zeros_like(gradient[0] if has_depth else gradient)

    def _turn(self, state):
        """Turn the bases towards the eigenvectors, with what is known in them.

        One step of the orthogonal iteration (Golub and Van Loan, *Matrix Computations*,
        section 8.2.4), with the columns in the order of their moments.
        """
        if not all(m is None or m.isfinite().all() for m in state["moments"]):
            return  # the training will see that it has diverged
        before, bases = state["bases"], []
        for axis, (basis, moment) in enumerate(
            zip(before, state["moments"], strict=True)
        ):
            if basis is not None:
                values = (basis.mT @ moment @ basis).diagonal(dim1=-2, dim2=-1)
                order = values.argsort(dim=-1, descending=True)
                basis = basis.take_along_dim(order.unsqueeze(-2), dim=-1)
                along = order.unsqueeze(-2 if axis else -1)
                state["size"] = state["size"].take_along_dim(along, dim=axis - 2)
                basis = torch.linalg.qr(moment @ basis).Q.contiguous()
            bases.append(basis)
        state["mean"] = _turned(_turned_back(state["mean"], before), bases)
        state["bases"] = tuple(bases)


def _in_blocks(g, n_blocks):
    """Cut columns into blocks of one length, of which the last ends with zeros.

    Blocks are along an axis in front of the rows.
    """
    if n_blocks == 1:
        return g
    g = pad(g, (0, -g.shape[-1] % n_blocks))
    return g.unflatten(-1, (n_blocks, -1)).movedim(-2, -3).contiguous()


def _out_of_blocks(g, n_blocks, n_columns):
    """Return what :func:`_in_blocks` was given, of so many columns."""
    return g if n_blocks == 1 else g.movedim(-3, -2).flatten(-2)[..., :n_columns]


def _second_moments(gradient, has_depth, has_basis):
    """Return the means over depth of g g^T and g^T g, None for a side without basis."""
    g = gradient if has_depth else gradient[None]

    def mean(products):  # of one, without a copy
        return products.mean(dim=0) if has_depth else products[0]

    of_rows, of_columns = has_basis
    return (
        mean(g @ g.mT) if of_rows else None,
        mean(g.mT @ g) if of_columns else None,
    )


def _steps_between_turns(bases):
    """Return how often bases turn: less often if one has a longer side than usual."""
    is_long = any(b is not None and b.shape[-1] > LONGEST_SIDE for b in bases)
    return STEPS_BETWEEN_LONG_TURNS if is_long else STEPS_BETWEEN_TURNS


def _eigenvectors(moment):
    """Return the eigenvectors in the columns; of what is not finite, the identity."""
    if moment is None:
        return None
    if not moment.isfinite().all():
        return torch.eye(moment.shape[-1]).to(moment).expand_as(moment).clone()
    return eigh(moment)[1].flip(-1).contiguous()


def _turned(g, bases):
    """Return a gradient in the coordinates of the bases."""
    left, right = bases
    g = g if left is None else left.mT @ g
    return g if right is None else g @ right


def _turned_back(g, bases):
    """Return what :func:`_turned` was given."""
    left, right = bases
    g = g if left is None else left @ g
    return g if right is None else g @ right.mT
