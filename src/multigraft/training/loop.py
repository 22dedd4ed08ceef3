"""The training loop: one for every method, schedule, objective and device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from multigraft.errors import UserError
from multigraft.methods.shared import SharedModel
from multigraft.mixing.ledger import Ledger
from multigraft.mixing.sampler import Draw, Sampler
from multigraft.training.checkpoint import load_checkpoint, save_checkpoint
from multigraft.training.kept import keep_states
from multigraft.training.memory import out_of_memory
from multigraft.training.monitor import Monitor
from multigraft.training.objective import Objective
from multigraft.training.optimizers import Optimizers
from multigraft.training.precision import computing_in
from multigraft.training.settings import TrainingSettings, learning_rate_factor


@dataclass
class Progress:
    """How far a run has come; kept in its checkpoint."""

    step: int = 0
    best_average: float | None = None
    best_step: int = 0
    seconds: float = 0.0  # spent on training, without scoring and saving
    saved_at: float = 0.0  # `seconds` at the newest checkpoint
    losses: list[float] = field(default_factory=list)  # of the steps that the log does not have yet


@dataclass(frozen=True)
class Hooks:
    """What the loop asks of its caller: dev scores of the model as it is, and to keep it.

    `passed` is told of every epoch that is over.
    """

    evaluate: Callable[[], Mapping[str, float]]
    keep: Callable[[Mapping[str, float]], None]
    passed: Callable[[int], None] = lambda epoch: None


def train(
    model: SharedModel,
    objective: Objective,
    sampler: Sampler,
    ledger: Ledger,
    settings: TrainingSettings,
    hooks: Hooks,
    monitor: Monitor,
    folder: Path,
    seed: int,
) -> Progress:
    """Train `model` on the sampler's draws from the rows of the `objective`.

    After every epoch the model is scored, kept if it is to be chosen, and a checkpoint is written to
    `folder/checkpoint` when one is due; a run that finds one goes on from there and ends as if it had not
    stopped, bit for bit on the CPU. Each epoch's dropout is seeded anew, so a checkpoint needs no generator state.
    Under `accelerate launch` the processes share the rows of each step, and the main one writes. A process alone keeps
    what a frozen backbone computes below the first module, see `multigraft.training.kept`.

    Raises UserError for a foreign checkpoint, a loss that is not finite, and more processes than rows in a step.
    """
    started = time.perf_counter()
    run = _Run(model, objective, sampler, ledger, settings, hooks, monitor, folder)
    accelerator, progress = run.accelerator, run.progress
    if accelerator.is_main_process:
        monitor.begin(progress.step, len(sampler), progress.losses)
    epoch = 0
    for draw in sampler:
        if draw.epoch != epoch:
            epoch = draw.epoch
            model.train()
            torch.manual_seed(_epoch_seed(seed, epoch, accelerator.process_index))
        factor = learning_rate_factor(progress.step, len(sampler), settings)
        loss = run.step(draw, factor)
        progress.step += 1
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss}", where=f"{monitor.label}: step {progress.step}", fix="lower the learning rates"
            )
        if accelerator.is_main_process:
            monitor.on_step(progress.step, loss, factor)
        if sampler.at_epoch_end:
            progress.seconds += time.perf_counter() - started
            run.finish_epoch(epoch)
            started = time.perf_counter()
    return progress


class _Run:
    """What a training run holds together: one step, and the end of an epoch."""

    def __init__(
        self,
        model: SharedModel,
        objective: Objective,
        sampler: Sampler,
        ledger: Ledger,
        settings: TrainingSettings,
        hooks: Hooks,
        monitor: Monitor,
        folder: Path,
    ) -> None:
        self.accelerator = Accelerator()
        processes = self.accelerator.num_processes
        if settings.batch_size < processes:
            raise UserError(
                f"{processes} processes cannot share {settings.batch_size} rows",
                where="training.batch_size",
                fix=f"give at least {processes}",
            )
        model.to(self.accelerator.device)  # type: ignore[attr-defined]
        self.model, self.objective, self.sampler, self.ledger = model, objective, sampler, ledger
        self.settings, self.hooks, self.monitor = settings, hooks, monitor
        self.limit = settings.part_positions
        self.checkpoint = folder / "checkpoint"
        self.optimizers = Optimizers(model, settings)
        self.progress = _resume(self.checkpoint, model, self.optimizers, sampler, ledger)
        self.wrapped: Any = self.accelerator.prepare(model) if processes > 1 else model
        self.kept = None
        if processes == 1:
            self.kept = keep_states(model, objective, sampler, settings.precision, self.accelerator.device, folder)

    def step(self, draw: Draw, factor: float) -> float:
        """One optimizer step; gives the mean loss of all processes.

        A step that finds no memory is taken again in smaller parts, as are all after it. Raises UserError where there
        is none for a single row.
        """
        while True:
            try:
                total, parts = self._gradient(draw)
                break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or self.accelerator.num_processes > 1:
                    raise
            self._take_less(draw)
        for part in parts:
            _record(self.ledger, self.objective, draw, part)
        self.optimizers.step(self.objective.experts(draw.tasks), factor)
        return float(self.accelerator.reduce(total, "mean"))  # type: ignore[arg-type]

    def _gradient(self, draw: Draw) -> tuple[Tensor, list[np.ndarray]]:
        """Compute the gradient of a step; gives this process's share of the loss, and the parts of all of them."""
        objective, tasks, rows = self.objective, draw.tasks, draw.rows
        done: list[np.ndarray] = []
        # Gradients are averaged over processes, the weights are of the whole batch: hence the factor.
        processes, device = self.accelerator.num_processes, self.accelerator.device
        weights = objective.weights(tasks, rows, independent=not self.model.whole) * processes
        total = torch.zeros((), device=device)
        for process in range(processes):
            mine = np.arange(process, len(tasks), processes)
            parts = [mine[part] for part in self._parts(tasks[mine], rows[mine])]
            for number, part in enumerate(parts, 1):
                done.append(part)
                if process == self.accelerator.process_index:
                    # Processes may have different numbers of parts: they meet at the last one.
                    alone = number < len(parts)
                    with self.accelerator.no_sync(self.wrapped) if alone else nullcontext():
                        total += self._backward(tasks[part], rows[part], weights[part])
        return total, done

    def _take_less(self, draw: Draw) -> None:
        """Halve the positions that are computed at once. Raises UserError where that is a single row already."""
        parts = self._parts(draw.tasks, draw.rows)
        widths = [len(part) * self.objective.positions(draw.tasks[part], draw.rows[part])[0] for part in parts]
        widest = parts[int(np.argmax(widths))]
        if len(widest) == 1:
            raise UserError(f"no memory for a row of {int(max(widths))} tokens", where="training",
                            fix="cut texts to fewer tokens, or take a smaller backbone")  # fmt: skip
        self.limit = max(1, int(max(widths)) // 2)
        self.optimizers.zero_grad()
        self.monitor.note(f"no memory for {len(widest)} rows at once: from here on {self.limit} positions at most")

    def _backward(self, tasks: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> Tensor:
        """Add the gradient of some rows; gives their part of the loss."""
        device = self.accelerator.device
        batch = self.objective.collate(tasks, rows)
        known = nullcontext() if self.kept is None else self.kept.known(tasks, rows, batch)
        batch = batch.to(device)
        with computing_in(self.settings.precision, device), known:
            outputs = self.wrapped(batch)
        loss = self.objective.losses(outputs, batch) @ torch.from_numpy(weights).to(device)
        self.accelerator.backward(loss)
        return loss.detach()

    def _parts(self, tasks: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
        limit = self.limit
        return [np.arange(len(rows))] if limit is None else self.objective.parts(tasks, rows, limit, self.model.prompt)

    def finish_epoch(self, epoch: int) -> None:
        """Score the model when it is due, keep it if it is the one to choose, and write a checkpoint."""
        progress, settings = self.progress, self.settings
        last = progress.step == len(self.sampler)
        self.hooks.passed(epoch)
        if last or epoch % settings.score_every == 0:
            self._score(last)
        # The last is worth its writing where the run was longer than what may be lost.
        since = 0.0 if last else progress.saved_at
        if self.accelerator.is_main_process and progress.seconds - since >= settings.checkpoint_seconds:
            progress.saved_at, progress.losses = progress.seconds, self.monitor.losses
            state = {"progress": asdict(progress), "sampler": self.sampler.state(), "ledger": self.ledger.state()}
            save_checkpoint(self.checkpoint, self.model, self.optimizers, state)
        self.accelerator.wait_for_everyone()

    def _score(self, last: bool) -> None:
        progress = self.progress
        self.model.eval()
        scores = self.hooks.evaluate()
        average = sum(scores.values()) / len(scores)
        better = progress.best_average is None or average > progress.best_average
        if better:
            progress.best_average, progress.best_step = average, progress.step
        if self.accelerator.is_main_process:
            self.monitor.on_scores(progress.step, scores, average, better)
            # Kept before the checkpoint is written: a run killed in between repeats the epoch and keeps it again.
            if better if self.settings.choose == "best" else last:
                self.hooks.keep(scores)


def _record(ledger: Ledger, objective: Objective, draw: Draw, part: np.ndarray) -> None:
    """Enter the rows of a draw that make up one batch."""
    tasks, rows = draw.tasks[part], draw.rows[part]
    tokens, truncated = (
        np.array([getattr(objective.data[t], name)[r] for t, r in zip(tasks, rows, strict=True)])
        for name in ("tokens", "truncated")
    )
    ledger.record(tasks, tokens, objective.positions(tasks, rows), truncated, draw.epoch)


def _resume(checkpoint: Path, model: SharedModel, optimizers: Optimizers, sampler: Sampler, ledger: Ledger) -> Progress:
    state = load_checkpoint(checkpoint, model, optimizers)
    if state is None:
        return Progress()
    try:
        sampler.restore(state["sampler"])
        ledger.restore(state["ledger"])
        return Progress(**state["progress"])
    except (KeyError, TypeError, ValueError):
        place = checkpoint / "progress.json"
        raise UserError("not the progress of this run", where=place, fix="start in a new folder") from None


def _epoch_seed(seed: int, epoch: int, process: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, process]).generate_state(1)[0])
