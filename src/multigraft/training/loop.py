"""The training loop: one for every method, schedule and device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from multigraft.batching.collate import collate
from multigraft.batching.encode import Encoded
from multigraft.errors import UserError
from multigraft.methods.joint import JointModel
from multigraft.mixing.ledger import Ledger
from multigraft.mixing.sampler import Draw, Sampler
from multigraft.training.checkpoint import load_checkpoint, save_checkpoint
from multigraft.training.monitor import Monitor
from multigraft.training.objective import row_losses, row_weights
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
    """What the loop asks of its caller: dev scores of a model, and to keep a model."""

    evaluate: Callable[[JointModel], Mapping[str, float]]
    keep: Callable[[JointModel, Mapping[str, float]], None]


def train(
    model: JointModel,
    data: Sequence[Encoded],
    sampler: Sampler,
    ledger: Ledger,
    settings: TrainingSettings,
    hooks: Hooks,
    monitor: Monitor,
    folder: Path,
    seed: int,
) -> Progress:
    """Train `model` on the sampler's draws; `data[i]` are the encoded training rows of task i.

    After every epoch the model is scored, kept if it is to be chosen, and a checkpoint is written to
    `folder/checkpoint` when one is due; a run that finds one goes on from there and ends as if it had not
    stopped, bit for bit on the CPU. Each epoch's dropout is seeded anew, so a checkpoint needs no generator state.
    Under `accelerate launch` the processes share the rows of each step, and the main one writes.

    Raises UserError for a foreign checkpoint, a loss that is not finite, and more processes than rows in a step.
    """
    accelerator = Accelerator()
    if settings.batch_size < accelerator.num_processes:
        raise UserError(
            f"{accelerator.num_processes} processes cannot share {settings.batch_size} rows",
            where="training.batch_size",
            fix=f"give at least {accelerator.num_processes}",
        )
    model.to(accelerator.device)
    optimizers = Optimizers(model, settings)
    progress = _resume(folder, model, optimizers, sampler, ledger)
    wrapped = accelerator.prepare(model) if accelerator.num_processes > 1 else model
    if accelerator.is_main_process:
        monitor.begin(progress.step, len(sampler), progress.losses)
    epoch, started = 0, time.perf_counter()
    for draw in sampler:
        if draw.epoch != epoch:
            epoch = draw.epoch
            model.train()
            torch.manual_seed(_epoch_seed(seed, epoch, accelerator.process_index))
        factor = learning_rate_factor(progress.step, len(sampler), settings)
        loss = _step(wrapped, optimizers, data, draw, ledger, settings, factor, accelerator)
        progress.step += 1
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss}", where=f"{monitor.label}: step {progress.step}", fix="lower the learning rates"
            )
        if accelerator.is_main_process:
            monitor.on_step(progress.step, loss, factor)
        if sampler.at_epoch_end:
            progress.seconds += time.perf_counter() - started
            _finish_epoch(
                model, optimizers, sampler, ledger, settings, hooks, monitor, progress, folder, accelerator, epoch
            )
            started = time.perf_counter()
    return progress


def _step(
    model: torch.nn.Module,
    optimizers: Optimizers,
    data: Sequence[Encoded],
    draw: Draw,
    ledger: Ledger,
    settings: TrainingSettings,
    factor: float,
    accelerator: Accelerator,
) -> float:
    """One optimizer step; gives the loss of this process's rows."""
    joint = optimizers.model
    weights = row_weights(draw.tasks, independent=not joint.tuned)
    # Gradients are averaged over processes, the weights are of the whole batch: hence the factor.
    mine = slice(accelerator.process_index, None, accelerator.num_processes)
    tasks, rows, weights = draw.tasks[mine], draw.rows[mine], weights[mine] * accelerator.num_processes
    batch = collate(data, tasks, rows, joint.backbone.pad_id).to(accelerator.device)
    for process in range(accelerator.num_processes):
        _record(ledger, data, draw, slice(process, None, accelerator.num_processes))
    with computing_in(settings.precision, accelerator.device):
        scores = model(batch)
    loss = row_losses(scores.float(), batch) @ torch.from_numpy(weights).to(accelerator.device)
    accelerator.backward(loss)
    optimizers.step(np.unique(draw.tasks).tolist(), factor)
    return float(accelerator.reduce(loss.detach(), "mean"))  # type: ignore[arg-type]


def _record(ledger: Ledger, data: Sequence[Encoded], draw: Draw, share: slice) -> None:
    """Enter the rows of a draw that one process computes, padded to the longest of them."""
    pairs = list(zip(draw.tasks[share], draw.rows[share], strict=True))
    longest = max(data[t].lengths[r] for t, r in pairs)
    tokens = np.array([data[t].tokens[r] for t, r in pairs])
    sequences = np.array([data[t].first[r + 1] - data[t].first[r] for t, r in pairs])
    truncated = np.array([data[t].truncated[r] for t, r in pairs])
    ledger.record(draw.tasks[share], tokens, sequences * longest, truncated, draw.epoch)


def _finish_epoch(
    model: JointModel,
    optimizers: Optimizers,
    sampler: Sampler,
    ledger: Ledger,
    settings: TrainingSettings,
    hooks: Hooks,
    monitor: Monitor,
    progress: Progress,
    folder: Path,
    accelerator: Accelerator,
    epoch: int,
) -> None:
    """Score the model when it is due, keep it if it is the one to choose, and write a checkpoint."""
    last = progress.step == len(sampler)
    if last or epoch % settings.score_every == 0:
        model.eval()
        scores = hooks.evaluate(model)
        average = sum(scores.values()) / len(scores)
        better = progress.best_average is None or average > progress.best_average
        if better:
            progress.best_average, progress.best_step = average, progress.step
        if accelerator.is_main_process:
            monitor.on_scores(progress.step, scores, average, better)
            # Kept before the checkpoint is written: a run killed in between repeats the epoch and keeps it again.
            if better if settings.choose == "best" else last:
                hooks.keep(model, scores)
    due = progress.seconds - progress.saved_at >= settings.checkpoint_seconds
    if accelerator.is_main_process and (due or last):
        progress.saved_at, progress.losses = progress.seconds, monitor.losses
        state = {"progress": asdict(progress), "sampler": sampler.state(), "ledger": ledger.state()}
        save_checkpoint(folder / "checkpoint", model, optimizers, state)
    accelerator.wait_for_everyone()


def _resume(folder: Path, model: JointModel, optimizers: Optimizers, sampler: Sampler, ledger: Ledger) -> Progress:
    state = load_checkpoint(folder / "checkpoint", model, optimizers)
    if state is None:
        return Progress()
    try:
        sampler.restore(state["sampler"])
        ledger.restore(state["ledger"])
        return Progress(**state["progress"])
    except (KeyError, TypeError, ValueError):
        place = folder / "checkpoint" / "progress.json"
        raise UserError("not the progress of this run", where=place, fix="start in a new folder") from None


def _epoch_seed(seed: int, epoch: int, process: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, process]).generate_state(1)[0])
