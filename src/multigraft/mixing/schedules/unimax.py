"""UniMax: equal budgets, but no more than so many passes over a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from multigraft.mixing.schedule import Schedule


class UniMax(Schedule):
    """Equal rows for every task, capped at `max_passes` over its examples; the rest goes to larger tasks.

    arXiv 2304.09151, algorithm 1, over examples in place of characters. A run with more
    rows than all the caps together cannot keep them: it is then proportional to size.
    """

    name: ClassVar[str] = "unimax"
    max_passes: float = Field(5.0, gt=0, description="most passes over the examples of a task in the run")

    def shares(self, sizes: Sequence[int], epoch: int, epochs: int, total_rows: int) -> list[float]:
        """Shares of `N` tasks, the same in every epoch."""
        budgets = [0.0] * len(sizes)
        left = float(total_rows)
        smallest_first = sorted(range(len(sizes)), key=lambda task: sizes[task])
        for done, task in enumerate(smallest_first):
            budgets[task] = min(left / (len(sizes) - done), sizes[task] * self.max_passes)
            left -= budgets[task]
        return [budget / sum(budgets) for budget in budgets]
