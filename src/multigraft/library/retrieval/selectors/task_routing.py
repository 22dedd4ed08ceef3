"""Routing by tasks: the target is matched to known tasks, and these to the experts that do well on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from scipy.special import softmax

from multigraft.errors import UserError
from multigraft.library.retrieval.selectors import Candidate, Cost, Selector, Target
from multigraft.library.similarity import average_direction


class TaskRouting(Selector):
    """Scores on the known tasks, weighted by how much their texts are like the target's.

    The `nearest` tasks by cosine of mean text embeddings count, with weights softmax(cosine / temperature); a score
    counts in standard deviations over the experts, as tasks have different metrics. With the nearest task alone, the
    first is that task's best expert. What experts were trained on is not read.
    """

    name: ClassVar[str] = "task_routing"
    paper: ClassVar[str] = "after arXiv 2601.21795 (LoRAuter): tasks by embeddings of validation sets, then adapters"
    reads: frozenset[str] = frozenset({"tasks", "texts"})

    def __init__(self, nearest: int = 3, temperature: float = 0.1) -> None:
        """Raises UserError for less than one task, and for a temperature that is not above 0."""
        if nearest < 1 or temperature <= 0:
            raise UserError(f"{nearest} tasks at temperature {temperature}", fix="give at least 1, and more than 0")
        self.nearest, self.temperature = nearest, temperature

    def scores(self, target: Target, experts: Sequence[Candidate]) -> np.ndarray:
        """In standard deviations. Reads `texts` of the target, and `texts` and `scores` of the known tasks."""
        if not target.tasks:
            raise self.fault(f"{target.called} comes without known tasks")
        texts = self.array(target, "texts", (-1, -1))
        own = average_direction(texts)
        cosines = np.array(
            [average_direction(self.array(task, "texts", (-1, texts.shape[1]))) @ own for task in target.tasks]
        )
        table = np.array([[float(self.under(task, e, "scores", ())) for e in experts] for task in target.tasks])
        chosen = np.argsort(-cosines, kind="stable")[: self.nearest]
        weights = softmax(cosines[chosen] / self.temperature)
        return weights @ _standardised(table[chosen])

    def cost(self, target: Target, experts: Sequence[Candidate]) -> Cost:
        """Q texts embedded, whatever the number of experts; the known tasks are scored once for the library."""
        return Cost(0, len(self.array(target, "texts", (-1, -1))))


def _standardised(table: np.ndarray) -> np.ndarray:
    """Each row with mean 0 and standard deviation 1; zeros where all are the same."""
    if not table.shape[1]:
        return table
    centred = table - table.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12)
