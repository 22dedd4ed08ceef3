"""Fisher information of the prompt: on which of its entries the answers to a task depend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from multigraft.library.predictors import Known, Predictor
from multigraft.library.similarity import direction


class Fisher(Predictor):
    """Task2Vec's symmetric similarity: cosine of F_s / (F_s + F_t) and F_t / (F_s + F_t), entry by entry.

    `Known.fisher` is the diagonal: for each entry of a prompt the mean, over examples and over answers drawn from
    the model, of the squared derivative of their log likelihood. It must be taken at the same point for all tasks
    (the same prompt on the same backbone), or entries do not correspond. An entry that is 0 in both tasks counts
    for neither.
    """

    name: ClassVar[str] = "fisher"
    paper: ClassVar[str] = "Achille et al. 2019, arXiv 1902.03545, section 3, symmetric Task2Vec distance"
    reads: ClassVar[frozenset[str]] = frozenset({"fisher"})

    def scores(self, target: Known, sources: Sequence[Known]) -> np.ndarray:
        """In [0, 1]. Reads `fisher`."""
        wanted = self._information(target, None)
        return np.array([_similarity(self._information(source, wanted.shape), wanted) for source in sources])

    def _information(self, task: Known, shape: Sequence[int] | None) -> np.ndarray:
        information = self.array(task, "fisher", shape).astype(np.float64)
        if (information < 0).any():
            raise self.fault(f"fisher of task {task.name!r} holds a number below 0")
        return information


def _similarity(a: np.ndarray, b: np.ndarray) -> float:
    larger = np.maximum(a, b)
    # Relative to the larger of the two first: their sum neither overflows nor loses digits.
    a, b = (np.divide(one, larger, out=np.zeros_like(one), where=larger > 0).ravel() for one in (a, b))
    total = np.where(a + b > 0, a + b, 1)
    return float(direction(a / total) @ direction(b / total))
