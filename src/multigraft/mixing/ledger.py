"""The ledger: what a run planned to draw, what it drew, and what that cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_COUNTS = ("drawn", "tokens", "positions", "truncated")


class Ledger:
    """Counts the rows of a run, per task and epoch.

    sizes: rows in the training split of each of `N` tasks. planned: rows that the schedule asks for, (E, N), from
    `Sampler.planned`.
    """

    def __init__(self, sizes: Mapping[str, int], planned: np.ndarray) -> None:
        self.names = list(sizes)
        self._sizes = list(sizes.values())
        self._planned = planned
        self._counts = {name: np.zeros(planned.shape, dtype=np.int64) for name in _COUNTS}

    def record(
        self, tasks: np.ndarray, tokens: np.ndarray, padded_length: int | np.ndarray, truncated: np.ndarray, epoch: int
    ) -> None:
        """Enter one batch: task, tokens without padding and whether it was cut, of every row, each (B,); epoch from 1.

        padded_length: positions with padding that a row takes, one figure or (B,).
        """
        columns: tuple[ArrayLike, ...] = (1, tokens, padded_length, truncated)
        for name, values in zip(_COUNTS, columns, strict=True):
            np.add.at(self._counts[name][epoch - 1], tasks, np.asarray(values, dtype=np.int64))

    def summary(self) -> dict[str, dict[str, float]]:
        """Per task: `planned` (share of the rows), `drawn` (rows), `passes` (over the training split), `tokens`
        (without padding), `padding` (share of the positions) and `truncated` (share of the rows)."""
        planned = _share(self._planned.sum(0), self._planned.sum())
        total = {name: counts.sum(0) for name, counts in self._counts.items()}
        columns = {
            "planned": planned,
            "drawn": total["drawn"],
            "passes": total["drawn"] / np.array(self._sizes),
            "tokens": total["tokens"],
            "padding": _share(total["positions"] - total["tokens"], total["positions"]),
            "truncated": _share(total["truncated"], total["drawn"]),
        }
        return {
            name: {column: values[task].item() for column, values in columns.items()}
            for task, name in enumerate(self.names)
        }

    def padding(self) -> float:
        """Share of all positions that were padding."""
        positions = self._counts["positions"].sum()
        return float(_share(positions - self._counts["tokens"].sum(), positions))

    def planned_shares(self) -> dict[str, list[float]]:
        """Per task: the share of the rows that the schedule asked for in each epoch."""
        return self._by_epoch(self._planned)

    def drawn_shares(self) -> dict[str, list[float]]:
        """Per task: its share of the rows drawn in each epoch; 0 for an epoch that has not begun."""
        return self._by_epoch(self._counts["drawn"])

    def state(self) -> dict[str, Any]:
        """All counts, for JSON."""
        return {name: counts.tolist() for name, counts in self._counts.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state` of a ledger of the same tasks and epochs."""
        self._counts = {name: np.array(state[name], dtype=np.int64) for name in _COUNTS}

    def _by_epoch(self, rows: np.ndarray) -> dict[str, list[float]]:
        shares = _share(rows, rows.sum(1, keepdims=True))
        return {name: shares[:, task].tolist() for task, name in enumerate(self.names)}


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where nothing was counted."""
    return part / np.maximum(whole, np.finfo(np.float64).tiny)
