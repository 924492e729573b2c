"""What a file tells of single samples, taken out of it.

A value that FEWEST samples have in common is told. In place of others stand means of as
many.
"""

from dataclasses import replace

import numpy as np
from scipy.special import ndtr

from odenet._network.start import input_scaling
from odenet._tables.embeddings.piecewise_linear import PiecewiseLinear
from odenet._tables.encoder import Encoder
from odenet._tables.normal_scores import MOST_KNOTS, NormalScores

# The samples behind every number: a choice, as tables of official statistics make one.
FEWEST = 10


def without_single_values(model, state):
    """Return the state of an estimator without a value of fewer than FEWEST samples.

    Knots of ranks become means of their neighbours, and edges of bins are interpolated
    between these. One of the rare categories of a column, which is kept to tell texts
    from numbers, becomes another of its kind. The errors of predictions of held-out
    samples are left out.

    Parameters
    ----------
    model : estimator
    state : dict
        With the names of files: see :mod:`odenet._export.parts`.

    Raises
    ------
    ValueError
        If that is not possible.
    """
    state = {name: value for name, value in state.items() if name != "_calibration"}
    encoder = state["_X_encoder"]
    if not isinstance(encoder, Encoder):  # of images, which are told by moments only
        return state
    if any("event_part" in row for row in model.net_.history):
        raise ValueError(
            "share=True needs to know how many samples have a value, which is unknown "
            "after partial_fit: fit the model to all samples, or use share=False."
        )
    n = model.n_samples_fit_
    if n < 2 * FEWEST:
        raise ValueError(
            f"share=True needs {2 * FEWEST} samples or more, of which {FEWEST} each "
            f"stand behind a number, got {n}: use share=False."
        )
    columns = encoder.columns
    _check_categories(model, columns, n)
    embedding = encoder.embedding
    n_embedded = encoder.n_inputs - columns.inputs[0]
    gain = input_scaling(model.module_, n_embedded=n_embedded)["gain"]
    # Masses are those among the numbers that are not missing, of which no one knows
    # how many there are.
    counts = np.where(np.isin(columns.scored, columns.incomplete), 0, n)
    knots = tuple(
        _shared(*pair, gain, count)
        for pair, count in zip(encoder.scores.knots, counts, strict=True)
    )
    pooled = {
        j: _stand_in(rare, columns.categories[j]) for j, rare in columns.pooled.items()
    }
    columns = replace(columns, pooled=pooled)
    if isinstance(embedding, PiecewiseLinear):
        scored = np.searchsorted(columns.numeric, columns.scored)
        deviations = gain * encoder.standardizer.scale[scored]
        maps = zip(
            embedding.edges, encoder.scores.knots, knots, deviations, strict=True
        )
        embedding = replace(embedding, edges=tuple(_shared_edges(*m) for m in maps))
    encoder = replace(
        encoder, columns=columns, scores=NormalScores(knots), embedding=embedding
    )
    return state | {"_X_encoder": encoder, "_columns": columns}


def _check_categories(model, columns, n):
    """Raise an error if a category may be that of fewer than FEWEST samples."""
    fewest = columns.fewest
    if fewest is None:  # in old files only the parameter tells
        least = model.min_frequency or 1
        fewest = least if least >= 1 else least * n
    if not columns.categories or fewest >= FEWEST:
        return
    raise ValueError(
        f"share=True tells no category of fewer than {FEWEST} samples, and the fit has "
        f"kept those of {fewest:g} or more: fit with min_frequency={FEWEST} or more, "
        "or use share=False."
    )


def _stand_in(rare, kept):
    """Return a value of the same kind as a rare category, that tells nothing of it."""
    for value in kept:
        if isinstance(value, type(rare)):
            return value
    return type(rare)() if rare is not None else None


def _shared(values, scores, gain, n):
    """Return the knots of a column, each of them of FEWEST samples or more.

    How many of n samples have a value is read off the scores, from both ends of the
    column. Where that is unknown, one sample has it; n is 0 if nothing is known.
    """
    scores = scores / gain
    masses = np.maximum(_masses(scores), _masses(-scores[::-1])[::-1])
    counts = np.maximum(1.0, n * masses)
    groups = _groups(counts)
    first = np.unique(groups, return_index=True)[1]
    is_told = np.bincount(groups) == 1  # which a mean of one value would round
    shares = counts / np.bincount(groups, counts)[groups]
    shared = []
    for knots in (values, gain * scores):
        means = np.bincount(groups, shares * knots)
        shared.append(np.where(is_told, knots[first], means))
    return tuple(shared)


def _shared_edges(edges, knots, shared, deviation):
    """Return edges of bins with about the same scores, between knots that are told.

    Several may get the same number where there are few knots, as in a column that is
    nearly all zeros: those are moved apart.
    """
    moved = np.interp(np.interp(edges, *knots), *shared[::-1])
    apart = _apart(moved, edges, deviation)
    if not np.isfinite(apart).all() or (apart[1:] <= apart[:-1]).any():
        raise ValueError(
            "share=True has too few numbers of its own for the bins of a column: fit "
            "with numeric_embedding='scores', or use share=False."
        )
    return apart


def _apart(moved, edges, deviation):
    """Move equal edges apart, but for the one that has been moved the least.

    They stay in the nearer half of the way to the neighbour, or within a deviation of
    the column where there is none.
    """
    apart = moved.copy()
    values, first, counts = np.unique(moved, return_index=True, return_counts=True)
    halves = values[1:] / 2 - values[:-1] / 2
    rooms = np.concatenate([[deviation], halves, [deviation]])
    for r in np.flatnonzero(counts > 1):
        run = slice(first[r], first[r] + counts[r])
        stays = np.abs(edges[run] - values[r]).argmin()
        steps = np.arange(counts[r]) - stays
        room = np.where(steps < 0, rooms[r], rooms[r + 1])
        ways = np.where(steps < 0, stays, counts[r] - 1 - stays)
        with np.errstate(over="ignore"):  # which is refused
            apart[run] += steps / np.maximum(ways, 1) * room
    return apart


def _masses(scores):
    """Return the masses of values by their scores, zero from where they are unknown.

    The normal distribution at a score is the mass below the middle of its value. So the
    mass of a value is known if that of all below it is. It is, unless a value above the
    one before was left out of the knots: those are left out of which there are several
    within a distance of scores.
    """
    masses, below = np.zeros(len(scores)), 0.0
    distance = (scores[-1] - scores[0]) / (MOST_KNOTS - 1) if len(scores) else 0.0
    for i, middle in enumerate(ndtr(scores)):
        if i > 0 and ndtr(scores[i - 1] + distance) > below * (1 + 1e-9):
            break
        masses[i] = 2 * (middle - below)
        below += masses[i]
    return masses


def _groups(counts):
    """Number the groups of neighbours that hold FEWEST samples or more each.

    Returns
    -------
    groups : ndarray of shape (len(counts),), of int, ascending from 0
    """
    groups, n_in_group, group = np.empty(len(counts), dtype=int), 0.0, 0
    for i, count in enumerate(counts):
        groups[i] = group
        n_in_group += count
        if n_in_group >= FEWEST - 0.5:  # counts are known up to rounding
            group, n_in_group = group + 1, 0.0
    if n_in_group and group:  # what is left over joins the last group
        groups[groups == group] = group - 1
    return groups
