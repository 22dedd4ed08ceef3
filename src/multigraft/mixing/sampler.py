"""The sampler: which rows of which tasks make up every step of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from multigraft.errors import UserError, unknown
from multigraft.mixing.schedule import Schedule

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

    The run is divided into `epochs` windows of (nearly) equal numbers of steps, planned one at a time. Rows come
    in passes: each pass is a new shuffle of all rows of a task, and the next one starts where it ends, so no row
    repeats before all have been seen and no tail is dropped. (In mode `mixed` this holds from window to window;
    inside a window rows are ordered by length.) The rows of a task, and how they are cut into batches, depend on
    the seed, the task's name and the number of its batches in every window, and on no other task.

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

    def _rng(self, *key: object) -> np.random.Generator:
        """A generator of its own for every use; unlike `hash`, the digest is the same in every process."""
        digest = hashlib.blake2b(repr((self.seed, *key)).encode(), digest_size=16).digest()
        return np.random.default_rng(int.from_bytes(digest, "little"))

    def _plan_window(self, window: int, steps: int) -> list[Draw]:
        if self.mode == "parallel":
            tasks = np.repeat(np.arange(len(self.names)), self._batch_size)
            rows = np.stack([self._batches(task, window, steps) for task in range(len(self.names))], axis=1)
            return [Draw(tasks, step_rows.reshape(-1), window + 1) for step_rows in rows]
        if self.mode == "mixed":
            return self._mixed(window, steps)
        chosen = self._choose(window, steps, done=int(self._starts[window]))
        rows = np.empty((steps, self._batch_size), dtype=np.int64)
        for task in np.unique(chosen):
            mine = chosen == task
            rows[mine] = self._batches(int(task), window, int(mine.sum()))
        return [Draw(np.full(self._batch_size, task), rows[step], window + 1) for step, task in enumerate(chosen)]

    def _mixed(self, window: int, steps: int) -> list[Draw]:
        chosen = self._choose(window, steps * self._batch_size, done=int(self._starts[window]) * self._batch_size)
        tasks = np.sort(chosen)
        rows = np.concatenate([self._next_rows(task, int((chosen == task).sum())) for task in range(len(self.names))])
        lengths = np.concatenate([self._lengths[task][rows[tasks == task]] for task in range(len(self.names))])
        batches = _bucket(lengths, np.zeros_like(rows), self._batch_size, self._rng("mixed", window))
        return [Draw(tasks[batch], rows[batch], window + 1) for batch in batches]

    def _choose(self, window: int, count: int, done: int) -> np.ndarray:
        """Tasks of the next `count` steps or rows of which `done` have been before this window, (count,)."""
        if self._schedule.in_turn:
            return np.arange(done, done + count) % len(self.names)
        return self._rng("tasks", window).choice(len(self.names), size=count, p=self._shares(window))

    def _batches(self, task: int, window: int, count: int) -> np.ndarray:
        """The next `count` batches of a task, (count, B) rows."""
        rows = self._next_rows(task, count * self._batch_size)
        passes = (self._drawn[task] + np.arange(len(rows))) // len(self._lengths[task])
        rng = self._rng("batches", self.names[task], window)
        return rows[_bucket(self._lengths[task][rows], passes, self._batch_size, rng)]

    def _next_rows(self, task: int, count: int) -> np.ndarray:
        """The next `count` rows of a task in the order of its passes, (count,)."""
        size, first = len(self._lengths[task]), self._drawn[task]
        passes = range(first // size, -(-(first + count) // size))
        shuffles = [self._rng("pass", self.names[task], number).permutation(size) for number in passes]
        stream = np.concatenate([np.empty(0, dtype=np.int64), *shuffles])
        return stream[first % size :][:count]


def _bucket(lengths: np.ndarray, passes: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """Cut rows into batches of like lengths, in random order, pass by pass: (n / B, B) indices into `lengths`.

    Odd passes run from long to short, so that a batch across two passes holds like lengths too; it comes last of
    its pass, so no row repeats before the pass is complete.
    """
    ordered = np.lexsort((rng.random(len(lengths)), np.where(passes % 2, -lengths, lengths), passes))
    batches = ordered.reshape(-1, batch_size)
    first, last = passes[batches[:, 0]], passes[batches[:, -1]]
    return batches[np.lexsort((rng.random(len(batches)), first != last, first))]
