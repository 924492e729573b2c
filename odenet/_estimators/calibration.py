"""Intervals and sets around predictions, by what was held out in training."""

from dataclasses import replace

import numpy as np
from sklearn.utils.validation import check_is_fitted

from odenet._diagnostics.conformal import Calibration
from odenet._distributed.group import ALONE
from odenet._network.model_axis import networks_of

# So many scores of a part are kept, which bounds files and the seconds of a prediction.
# Rows are in random order, so that the first ones promise as much as all would; the
# share of targets in intervals of 0.9 then has a standard error of 0.01.
MOST_SCORES = 1000


def calibrated(predictor, parts, group=ALONE):
    """Return a predictor that knows what samples say that it was not trained on.

    They tell the temperature of a single network, and the scores of samples at this
    temperature. The mean of several networks is less sure than each of them, and keeps
    the temperature 1.

    Parameters
    ----------
    predictor : Predictor
        Of a trained network.
    parts : list of Rows
        What every member has held out; or one part that none was trained on.
    group : Alone, default=ALONE
        The processes that have the rows, one after the other.

    Returns
    -------
    predictor : Predictor
    """
    network = predictor.network
    judged = networks_of(network) if len(parts) > 1 else [network]
    told = [
        predictor.around(one).outputs(rows.X, is_read=True)
        for one, rows in zip(judged, parts, strict=True)
    ]
    targets = predictor.targets
    if network.n_models == 1:
        targets = targets.calibrated(*told, parts[0].y, parts[0].weight, group)
    scores, weights = [], []
    for outputs, rows in zip(told, parts, strict=True):
        weight = rows.sample_weight  # as often as samples come, whatever a class counts
        kept = np.flatnonzero(weight)[:MOST_SCORES]
        found = targets.nonconformity(outputs, rows.y)[kept]
        scores.append(group.concat(found)[:MOST_SCORES])
        weights.append(group.concat(weight[kept])[:MOST_SCORES])
    calibration = Calibration(tuple(scores), tuple(weights))
    return replace(predictor, targets=targets, calibration=calibration)


def checked_calibration(estimator):
    """Return the calibration of a fitted estimator, or raise if it has none."""
    check_is_fitted(estimator)
    if not estimator._predictor.targets.is_calibrated:
        raise ValueError(
            "There are no conformal sets of several labels: wrap a classifier of one "
            "label in sklearn.multioutput.MultiOutputClassifier, and ask each."
        )
    calibration = estimator._predictor.calibration
    if calibration is None:
        raise ValueError(
            "There are no held-out samples to learn the errors of predictions from. "
            "Fit with n_members=5 and early_stopping=True, or pass X_val and y_val to "
            "fit. (Networks that follow a flow end on all samples, unless each of "
            "several holds out a part of its own; splits that hold out a sample twice "
            "say too much of it; a given flow_time and searches hold none out by "
            "themselves; and a warm start, partial_fit, with_depth without "
            "imitate=True and save(share=True) leave none.)"
        )
    return calibration


def predict_interval(estimator, X, confidence_level):
    """Return intervals for the targets, as ``ResODERegressor.predict_interval``."""
    calibration, predictor = checked_calibration(estimator), estimator._predictor
    targets = predictor.targets
    outputs = predictor.outputs_to_calibrate(X)
    bounds = (np.stack(b) for b in zip(*map(targets.bounds, outputs), strict=True))
    return targets.interval(calibration.interval(*bounds, confidence_level))


def predict_set(estimator, X, confidence_level):
    """Return sets of classes, as ``ResODEClassifier.predict_set``."""
    calibration, predictor = checked_calibration(estimator), estimator._predictor
    outputs = predictor.outputs_to_calibrate(X)
    scores = [-predictor.targets.log_probabilities(o) for o in outputs]
    return calibration.contains(np.stack(scores), confidence_level)
