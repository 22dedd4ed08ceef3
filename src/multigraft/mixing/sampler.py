"""The sampler: which rows of which tasks make up every step of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from multigraft.errors import UserError, unknown
from multigraft.mixing.schedule import Schedule
from multigraft.mixing.stream import Stream, generator

Mode = Literal["one_task", "mixed", "parallel"]


@dataclass(frozen=True)
class Draw:
    """The rows of one step: `B` of them, or `N * B` in mode `parallel`, task by task."""

    tasks: np.ndarray  # (B,) int64: index of the task, in the order of the sampler's `names`
    rows: np.ndarray  # (B,) int64: index of the row in the training split of its task
    epoch: int  # from 1


class Sampler:
    """Plans a run of `steps` steps and yields a `Draw` for each; the same seed gives the same draws.

    sizes: examples of each task as the schedule sees them.
    lengths: token length of every training row of each task; rows are batched with others of about their length.
    mode: `one_task`: the `B` rows of a step belong to one task. `mixed`: every row has a task of its own.
        `parallel`: `B` rows of each task at every step, as independent experts need; no schedule is asked.
    of: whose rows an entry of `sizes` has, where it is not named after its task: entries of one task draw alike.

    The run is divided into `epochs` windows of (nearly) equal numbers of steps, planned one at a time. The rows of a
    task come in passes, as `Stream` has it. In modes `one_task` and `parallel`, batch k of a task depends on the seed,
    the task's name and k only; in mode `mixed` the rows of a window are ordered by length all together, so a row may
    repeat in a window before its pass is complete.

    Raises UserError for a task without rows, an unknown mode or a schedule whose shares are not shares.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        lengths: Mapping[str, Sequence[int]],
        schedule: Schedule,
        batch_size: int,
        steps: int,
        epochs: int,
        mode: Mode,
        seed: int,
        of: Mapping[str, str] | None = None,
    ) -> None:
        if mode not in get_args(Mode):
            raise unknown("sampling mode", mode, get_args(Mode))
        for what, number in (("batch size", batch_size), ("number of steps", steps), ("number of epochs", epochs)):
            if number < 1:
                raise UserError(f"the {what} is {number}", fix="give at least 1")
        empty = [name for name in sizes if sizes[name] < 1 or not len(lengths[name])]
        if empty or not sizes:
            raise UserError(f"task {empty[0]!r} has no training rows" if empty else "there is no task to train on")
        self.names = list(sizes)
        self.steps, self.epochs, self.mode, self.seed = steps, epochs, mode, seed
        self.step = 0
        self._batch_size, self._schedule = batch_size, schedule
        self._sizes = [sizes[name] for name in self.names]
        self._lengths = [np.asarray(lengths[name], dtype=np.int64) for name in self.names]
        self._streams = [Stream((of or {}).get(name, name), lengths[name], batch_size, seed) for name in self.names]
        self._starts = np.array([steps * epoch // epochs for epoch in range(epochs + 1)])
        self._drawn = [0] * len(self.names)  # rows drawn of each task before the current window
        self._plan: list[Draw] = []  # draws of the current window; empty: not planned yet

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Draw]:
        """The draws that are left, from `step` on."""
        while self.step < self.steps:
            window = int(np.searchsorted(self._starts, self.step, side="right")) - 1
            start, end = int(self._starts[window]), int(self._starts[window + 1])
            if not self._plan:
                self._plan = self._plan_window(window, end - start)
            draw = self._plan[self.step - start]
            self.step += 1
            if self.step == end:
                drawn = np.bincount(np.concatenate([d.tasks for d in self._plan]), minlength=len(self.names))
                self._drawn = [before + int(now) for before, now in zip(self._drawn, drawn, strict=True)]
                self._plan = []
            yield draw

    @property
    def at_epoch_end(self) -> bool:
        """Was the last draw the last one of its epoch?"""
        return self.step in self._starts[1:]

    def state(self) -> dict[str, Any]:
        """Where the sampler stands, for JSON: `restore` continues with the very draws that would have come."""
        return {"step": self.step, "drawn": dict(zip(self.names, self._drawn, strict=True))}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state` of a sampler made with the same arguments. Raises UserError for other tasks."""
        drawn = state["drawn"]
        if set(drawn) != set(self.names):
            before, now = ", ".join(drawn), ", ".join(self.names)
            raise UserError(f"the run to resume trained on {before}, this one trains on {now}", fix="start a new run")
        self.step, self._drawn, self._plan = state["step"], [drawn[name] for name in self.names], []

    def planned(self) -> np.ndarray:
        """Rows that the schedule asks for, (E, N) float64: what the draws of each epoch are expected to be."""
        steps = np.diff(self._starts)
        if self.mode == "parallel":
            return np.outer(steps, np.full(len(self.names), float(self._batch_size)))
        return np.stack([self._shares(e) * n * self._batch_size for e, n in enumerate(steps)])

    def _shares(self, window: int) -> np.ndarray:
        total_rows = self.steps * self._batch_size
        shares = np.array(self._schedule.shares(self._sizes, window + 1, self.epochs, total_rows), dtype=np.float64)
        if shares.shape != (len(self.names),) or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
            what = f"schedule {self._schedule.name!r} gave {shares.tolist()} for {len(self.names)} tasks"
            raise UserError(what, fix="shares must be one per task, not negative, with sum 1")
        return shares / shares.sum()

    def _plan_window(self, window: int, steps: int) -> list[Draw]:
        done = int(self._starts[window])
        if self.mode == "mixed":
            return self._mixed(window, self._choose(window, steps * self._batch_size, done * self._batch_size))
        every = range(len(self.names))
        turns = [every] * steps if self.mode == "parallel" else self._choose(window, steps, done)[:, None].tolist()
        counts = [drawn // self._batch_size for drawn in self._drawn]
        plan = []
        for turn in turns:
            rows = [self._streams[task].batch(counts[task]) for task in turn]
            plan.append(Draw(np.repeat(turn, self._batch_size), np.concatenate(rows), window + 1))
            for task in turn:
                counts[task] += 1
        return plan

    def _mixed(self, window: int, chosen: np.ndarray) -> list[Draw]:
        """Rows of the `chosen` tasks, sorted by length, cut into batches, and the batches shuffled."""
        rng = generator("mixed", self.seed, window)
        counts = np.bincount(chosen, minlength=len(self.names))
        rows = [stream.rows(*at) for stream, *at in zip(self._streams, self._drawn, counts.tolist(), strict=True)]
        lengths = np.concatenate([self._lengths[task][mine] for task, mine in enumerate(rows)])
        batches = np.lexsort((rng.random(len(lengths)), lengths)).reshape(-1, self._batch_size)
        tasks, flat = np.repeat(np.arange(len(rows)), counts), np.concatenate(rows)
        return [Draw(tasks[batch], flat[batch], window + 1) for batch in rng.permutation(batches)]

    def _choose(self, window: int, count: int, done: int) -> np.ndarray:
        """Tasks of the next `count` steps or rows, of which `done` came before this window, (count,)."""
        if self._schedule.in_turn:
            return np.arange(done, done + count) % len(self.names)
        return generator("tasks", self.seed, window).choice(len(self.names), size=count, p=self._shares(window))
