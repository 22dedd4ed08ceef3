"""Metrics over whole splits, and over many resamples of a split at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.stats import rankdata

from multigraft.errors import unknown


def score(metric: str, predictions: np.ndarray, targets: np.ndarray) -> float:
    """The metric of `n` predictions against `n` targets, in per cent. Raises UserError for an unknown metric."""
    return float(scores(metric, predictions, targets))


def scores(metric: str, predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """As `score`, of many splits at once: arrays (..., n) give (...)."""
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    return 100 * METRICS[metric](np.asarray(predictions), np.asarray(targets))


def average(scores: Mapping[str, float]) -> float:
    """The score of a suite: every task counts the same, whatever its size.

    The test average of arXiv 1902.02671 (table 2) is this mean over the columns of its table, with MNLI matched
    and mismatched as two, F1 for QQP and MRPC, accuracy for QNLI, SST-2 and RTE, Matthews for CoLA, and the rank
    correlation for STS-B.
    """
    return sum(scores.values()) / len(scores)


def _accuracy(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.mean(predictions == targets, axis=-1)


def _confusion(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Counts (..., C, C) of target and prediction, for the C classes that occur in either."""
    classes = np.union1d(predictions, targets)
    predicted, wanted = (np.searchsorted(classes, a) for a in np.broadcast_arrays(predictions, targets))
    batch, size = predicted.shape[:-1], len(classes)
    cells = wanted * size + predicted
    offsets = np.arange(int(np.prod(batch)))[:, None] * size * size
    counts = np.bincount((cells.reshape(len(offsets), -1) + offsets).ravel(), minlength=len(offsets) * size * size)
    return counts.reshape(*batch, size, size).astype(np.float64)


def _f1(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """F1 of the positive class, which is the second option: "duplicate" of not_duplicate, duplicate."""
    predicted, wanted = predictions == 1, targets == 1
    return _ratio(2 * (predicted & wanted).sum(-1), predicted.sum(-1) + wanted.sum(-1))


def _macro_f1(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Mean of the F1 of each class that occurs, in targets or predictions."""
    confusion = _confusion(predictions, targets)
    hits, either = np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1) + confusion.sum(-2)
    return _ratio(2 * hits, either).sum(-1) / (either > 0).sum(-1)


def _matthews(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """For any number of classes: Gorodkin 2004, "Comparing two K-category assignments", equation 8."""
    confusion = _confusion(predictions, targets)
    wanted, predicted = confusion.sum(-1), confusion.sum(-2)
    total, hits = wanted.sum(-1), np.trace(confusion, axis1=-2, axis2=-1)
    spread = (total**2 - (predicted**2).sum(-1)) * (total**2 - (wanted**2).sum(-1))
    return _ratio(hits * total - (wanted * predicted).sum(-1), np.sqrt(spread))


def _pearson(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    x, y = _centred(predictions), _centred(targets)
    return _ratio((x * y).sum(-1), np.sqrt((x * x).sum(-1) * (y * y).sum(-1)))


def _spearman(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return _pearson(rankdata(predictions, axis=-1), rankdata(targets, axis=-1))


def _centred(values: np.ndarray) -> np.ndarray:
    # Taking off the first value first makes equal values exactly zero; their mean alone may be off by a rounding.
    values = values.astype(np.float64) - values[..., :1]
    return values - values.mean(-1, keepdims=True)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where whole is not positive."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)


# Predictions against targets: arrays (..., n) of n examples each give values (...) in [-1, 1], and 0 where a figure is
# not defined, as for a correlation with constant predictions. Choices are given by their index.
METRICS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "macro_f1": _macro_f1,
    "matthews": _matthews,
    "pearson": _pearson,
    "spearman": _spearman,
}
