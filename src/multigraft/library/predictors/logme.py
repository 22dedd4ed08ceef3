"""LogME: how probable the target's labels are given features that a source's prompt yields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from scipy.optimize import minimize_scalar

from multigraft.library.predictors import Known, Predictor

# Ratios of prior to noise precision that are tried, over the largest squared singular value: e^-25 to e^25.
_GRID = np.linspace(-25.0, 25.0, 201)


class LogME(Predictor):
    """Largest log evidence, per example, of a Bayesian linear model of the labels on the features.

    Numbers are one column of labels; classes are a column of zeros and ones each, whose evidences are averaged.
    """

    name: ClassVar[str] = "logme"
    paper: ClassVar[str] = "You et al. 2021, arXiv 2102.11005, section 4"
    reads: ClassVar[frozenset[str]] = frozenset({"labels", "features"})

    def scores(self, target: Known, sources: Sequence[Known]) -> np.ndarray:
        """Nats per example. Reads `labels` of the target and its `features` under each source."""
        labels = self.array(target, "labels", (-1,))
        classes = np.unique(labels)
        if len(classes) < 2:
            raise self.fault(f"the labels of task {target.name!r} are all the same")
        numbers = np.issubdtype(labels.dtype, np.floating)
        columns = labels[:, None] if numbers else labels[:, None] == classes
        found = [self.under(target, source, "features", (len(labels), -1)) for source in sources]
        return np.array([max_log_evidence(features, columns).mean() / len(labels) for features in found])


def max_log_evidence(features: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Largest log p(y | F, alpha, beta) over alpha and beta, for each column y of n x C labels: (C,), in nats.

    The model (arXiv 2102.11005, section 4.2): y = F w + noise with F of n x D, w ~ N(0, 1/alpha), noise ~
    N(0, 1/beta). With the ratio r = alpha / beta, y ~ N(0, (I + F F' / r) / beta), and the best beta is n / Q(r), Q
    being y' (I + F F' / r)^-1 y: one search for r is left, on a grid, then around its best point. Where features
    give the labels exactly, the evidence has no maximum; the end of the grid then bounds it.
    """
    left, singular, _ = np.linalg.svd(np.asarray(features, np.float64), full_matrices=False)
    kept = singular > singular[0] * max(features.shape) * np.finfo(np.float64).eps
    left, squares = left[:, kept], (singular[kept] / (singular[0] or 1.0)) ** 2  # K squares, the largest 1
    columns = np.asarray(columns, np.float64)
    inside = left.T @ columns  # K x C
    outside = ((columns - left @ inside) ** 2).sum(axis=0)
    return np.array([_search(squares, inside[:, c] ** 2, float(outside[c]), len(columns)) for c in range(len(outside))])


def _search(squares: np.ndarray, inside: np.ndarray, outside: float, n: int) -> float:
    """The largest log evidence; inside (K,): squares of y along the singular vectors, outside: of the rest of y."""

    def evidence(log_ratio: np.ndarray) -> np.ndarray:
        ratio = np.exp(log_ratio)[..., None]
        fit = (inside * ratio / (ratio + squares)).sum(-1) + outside  # Q
        return -n / 2 * (np.log(2 * np.pi * fit / n) + 1) - np.log1p(squares / ratio).sum(-1) / 2

    on_grid = evidence(_GRID)
    best = int(on_grid.argmax())
    around = (_GRID[max(best - 1, 0)], _GRID[min(best + 1, len(_GRID) - 1)])
    finer = minimize_scalar(lambda x: -float(evidence(np.array(x))), bounds=around, method="bounded")
    return float(max(on_grid[best], -finer.fun))
