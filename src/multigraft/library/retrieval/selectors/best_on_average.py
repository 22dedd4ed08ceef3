"""The expert that is best on average over the known tasks, whatever the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from multigraft.library.retrieval.selectors import Candidate, Cost, Selector, Target


class BestOnAverage(Selector):
    """Mean score over the known tasks. Whoever judges it leaves the target out of these."""

    name: ClassVar[str] = "best_on_average"
    paper: ClassVar[str] = "arXiv 2302.03202: the best single expert"
    reads: frozenset[str] = frozenset({"tasks"})

    def scores(self, target: Target, experts: Sequence[Candidate]) -> np.ndarray:
        """In the unit of the scores. Reads the `scores` of the known tasks."""
        if not target.tasks:
            raise self.fault(f"{target.called} comes without known tasks")
        table = [[float(self.under(task, expert, "scores", ())) for task in target.tasks] for expert in experts]
        return np.array([np.mean(row) for row in table])

    def cost(self, target: Target, experts: Sequence[Candidate]) -> Cost:
        """Nothing for a target: the known tasks are scored once for the library."""
        return Cost(0, 0)
