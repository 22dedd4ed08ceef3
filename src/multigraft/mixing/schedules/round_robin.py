"""Round robin: the tasks in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from multigraft.mixing.schedule import Schedule


class RoundRobin(Schedule):
    """Every task as often as every other, in turn (arXiv 1902.02671, "Sampling tasks")."""

    name: ClassVar[str] = "round_robin"
    in_turn: ClassVar[bool] = True

    def shares(self, sizes: Sequence[int], epoch: int, epochs: int, total_rows: int) -> list[float]:
        """The same share for each of `N` tasks."""
        return [1 / len(sizes)] * len(sizes)
