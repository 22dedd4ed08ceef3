"""Models that learn several tasks as one: a tuned backbone, or one prompt for a mixture of tasks.

FOLDER/result/whole.json             what is known of it, written last
FOLDER/result/answers.*              its answers to the scored rows of the tasks that it is scored on
FOLDER/result/shared.safetensors     the tuned backbone, or the module that all tasks share, where it is asked for
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor

from multigraft.evaluation.template_statistics import Templated
from multigraft.files import new_folder, write_json, write_tensors
from multigraft.methods.joint import JointModel
from multigraft.mixing.ledger import Ledger
from multigraft.mixing.schedule import Schedule
from multigraft.runinfo import peak_memory_mb, reset_peak_memory
from multigraft.settings import Record
from multigraft.strategies.answering import Answering, Model
from multigraft.strategies.runs import answers_of, claimed, write_answers
from multigraft.strategies.sampling import sampler_of
from multigraft.training.loop import Hooks, train
from multigraft.training.monitor import Monitor
from multigraft.training.settings import TrainingSettings


class WholeOutcome(Record):
    """What the training gave: `whole.json`."""

    tasks: tuple[str, ...]
    steps: int
    chosen_step: int
    train_seconds: float
    peak_memory_mb: float
    ledger: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Whole:
    """A trained model in its folder."""

    folder: Path
    outcome: WholeOutcome

    def shared(self) -> dict[str, Tensor]:
        """The tuned backbone, or the one module. They are there when they were asked for."""
        return load_file(self.folder / "result/shared.safetensors")

    def answers(self) -> dict[str, Templated]:
        """Its answers to the scored rows, by task."""
        return answers_of(self.folder)


def train_whole(
    answering: Answering,
    tasks: Sequence[str],
    method: Mapping[str, object],
    training: TrainingSettings,
    schedule: Schedule,
    folder: Path,
    *,
    tuned: bool,
    scored: bool,
    start: Mapping[str, Tensor] | None = None,
    label: str,
    quiet: bool,
) -> Whole:
    """Train one model on the tasks, unless it is in `folder` already.

    tuned: the backbone, otherwise a module of `method` that all tasks share. scored: keep the answers; else what is
    shared. start: a tuned backbone to go on from, as `Whole.shared` gives it.
    """
    with claimed(folder):
        path = folder / "result/whole.json"
        if path.exists():
            return Whole(folder, WholeOutcome.model_validate_json(path.read_text()))
        reset_peak_memory()
        experts = {task: task for task in tasks}
        model = answering.model(experts, method, tuned=tuned, shared=True)
        if start is not None:
            _put(dict(model.shared()), start)
        rows = {task: answering.train[task] for task in tasks}
        settings = training.model_copy(update={"batches": "mixed"})
        sampler = sampler_of(rows, schedule, settings, answering.recipe.seed)
        ledger = Ledger({name: len(mine) for name, mine in rows.items()}, sampler.planned())

        def evaluate() -> dict[str, float]:
            return {task: answering.dev_score(model, _expert(model, n), task) for n, task in enumerate(tasks)}

        def keep(scores: Mapping[str, float]) -> None:
            write_tensors(folder / "best.safetensors", _state(model))

        with Monitor(folder, label, quiet=quiet) as monitor:
            progress = train(
                model, answering.objective(experts, shared=True), sampler, ledger, settings, Hooks(evaluate, keep),
                monitor, folder, answering.recipe.seed,
            )  # fmt: skip
        _put(_state(model), load_file(folder / "best.safetensors"))
        outcome = WholeOutcome(
            tasks=tuple(tasks),
            steps=progress.step,
            chosen_step=progress.best_step if training.choose == "best" else progress.step,
            train_seconds=progress.seconds,
            peak_memory_mb=peak_memory_mb(),
            ledger=ledger.summary(),
        )
        answers = {task: answering.answers(model, _expert(model, n), task) for n, task in enumerate(tasks) if scored}
        if Accelerator().is_main_process:
            _keep(folder, model, outcome, answers, scored)
        Accelerator().wait_for_everyone()
        return Whole(folder, outcome)


def _keep(folder: Path, model: Model, outcome: WholeOutcome, answers: Mapping[str, Templated], scored: bool) -> None:
    with new_folder(folder / "result") as new:
        if scored:
            write_answers(new, answers)
        if not model.tuned:
            write_tensors(new / "shared.safetensors", model.bank.stack.expert(model.bank.stack.names[0]))
        elif not scored:  # a whole backbone, which is kept only for others to start from
            write_tensors(new / "shared.safetensors", dict(model.shared()))
        write_json(new / "whole.json", outcome.model_dump(mode="json"))
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    (folder / "best.safetensors").unlink(missing_ok=True)


def _state(model: Model) -> dict[str, Tensor]:
    """All that is trained."""
    stacks: dict[str, Tensor] = {f"stack.{name}": stack.values for name, stack in model.stacks.items() if stack.width}
    return stacks | (dict(model.shared()) if model.tuned else {})


@torch.no_grad()
def _put(state: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        state[name].copy_(tensor)


def _expert(model: Model, number: int) -> int:
    """Whose answers the number-th task gets: of heads its own, in words those of the one expert."""
    return number if isinstance(model, JointModel) else 0
