"""Independent experts, many trained at once in one bank: each comes out as it would alone.

FOLDER/NAME/result/expert.json           what is known of it, written last
FOLDER/NAME/result/best.safetensors      its tensors at the step that was chosen, those of a head as `head.…`
FOLDER/NAME/result/early.safetensors     its module after about a tenth of the run: the task's embedding
FOLDER/NAME/result/answers.*             its answers to the scored rows
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor

from multigraft.evaluation.template_statistics import Templated
from multigraft.files import new_folder, write_json, write_tensors
from multigraft.library.load import split_head
from multigraft.library.store import HEAD
from multigraft.methods.base import parse_method
from multigraft.methods.joint import JointModel
from multigraft.mixing.ledger import Ledger
from multigraft.mixing.schedule import parse
from multigraft.runinfo import peak_memory_mb, reset_peak_memory
from multigraft.settings import Record
from multigraft.strategies.answering import Answering, HeadAnswering, Model
from multigraft.strategies.comparison import digest
from multigraft.strategies.runs import answers_of, claimed, write_answers
from multigraft.strategies.sampling import sampler_of
from multigraft.training.loop import Hooks, train
from multigraft.training.monitor import Monitor
from multigraft.training.settings import TrainingSettings

EARLY = 0.1  # share of the run after which a task's embedding is taken (arXiv 2110.07904, section 4.1)
MEMORY_SHARE = 0.25  # of the machine's memory, for the parameters of a bank
_WIDE = 0.25  # of the backbone's parameters: a bank of wider modules is slower than one after the other
_COPIES = 4  # of every parameter: itself, its gradient and two moments


@dataclass(frozen=True)
class Wanted:
    """An expert to be trained on a task; `start` are tensors of its module, and of its head as `head.…`, or None."""

    name: str
    task: str
    training: TrainingSettings
    start: Mapping[str, Tensor] | None = None
    parents: tuple[str, ...] = ()


class Outcome(Record):
    """What training one expert gave: `expert.json`."""

    task: str
    parents: tuple[str, ...]
    steps: int
    chosen_step: int
    early_step: int
    dev: float  # at the chosen step, in per cent, on the rows kept to choose by
    dev_curve: dict[int, float]  # by step
    train_seconds: float  # its share of the bank's time
    peak_memory_mb: float  # of the bank
    parameters: int
    ledger: dict[str, float]


@dataclass(frozen=True)
class Trained:
    """A trained expert in its folder."""

    name: str
    folder: Path
    outcome: Outcome

    def best(self) -> dict[str, Tensor]:
        """Its tensors at the chosen step, those of a head as `head.…`."""
        return load_file(self.folder / "result/best.safetensors")

    def module(self) -> dict[str, Tensor]:
        """Those of its module."""
        return split_head(self.best())[0]

    def early(self) -> dict[str, Tensor]:
        """Its module at `outcome.early_step`."""
        return load_file(self.folder / "result/early.safetensors")

    def answers(self) -> Templated:
        """What it answers to the scored rows of its task."""
        return answers_of(self.folder)[self.outcome.task]


def finished_expert(folder: Path) -> Trained | None:
    """The expert that was trained in `folder`, or None."""
    path = folder / "result/expert.json"
    if not path.exists():
        return None
    return Trained(folder.name, folder, Outcome.model_validate_json(path.read_text()))


def finished_experts(folder: Path, names: Iterable[str]) -> dict[str, Trained]:
    """Those of the named experts that were trained in `folder`, in the order of the names."""
    found = {name: finished_expert(folder / name) for name in names}
    return {name: expert for name, expert in found.items() if expert is not None}


def train_experts(
    answering: Answering,
    wanted: Sequence[Wanted],
    method: Mapping[str, object],
    folder: Path,
    *,
    label: str,
    quiet: bool,
    bank_size: int | None = None,
) -> dict[str, Trained]:
    """Train what is not there yet, on a frozen backbone; gives all by name.

    Those whose runs are alike in settings and length are trained in one bank. A run that was stopped goes on where it
    was: whole experts are kept, and those in training continue.
    """
    wanted = [_with_steps(one, len(answering.train[one.task])) for one in wanted]
    todo = [one for one in wanted if finished_expert(folder / one.name) is None]
    if todo:
        size = bank_size or _bank_size(answering, method)
        for group in [*_begun(wanted, folder), *_groups(todo, size)]:
            if all(finished_expert(folder / one.name) for one in group):
                continue
            names = [one.name for one in group]
            place = folder / f".bank-{digest(names)}"
            with claimed(place):
                if Accelerator().is_main_process:
                    write_json(place / "members.json", names)
                _train_bank(answering, group, method, folder, place, label, quiet)
            if Accelerator().is_main_process:
                shutil.rmtree(place, ignore_errors=True)
            Accelerator().wait_for_everyone()
    return finished_experts(folder, [one.name for one in wanted])


def _with_steps(one: Wanted, rows: int) -> Wanted:
    """With the length of its run in steps, as it would be alone."""
    steps = {"steps": one.training.steps_for(rows, 1), "passes": None}
    return replace(one, training=one.training.model_copy(update=steps))


def _begun(wanted: Sequence[Wanted], folder: Path) -> Iterator[list[Wanted]]:
    """Banks that a run which was stopped left behind; some of their experts may be whole."""
    by_name = {one.name: one for one in wanted}
    for path in sorted(folder.glob(".bank-*/members.json")):
        members = json.loads(path.read_text())
        if by_name.keys() >= set(members):
            yield [by_name[name] for name in members]


def _groups(todo: Sequence[Wanted], size: int) -> Iterator[list[Wanted]]:
    """Banks of at most `size`, those of the same settings all of about the same size."""
    alike: dict[str, list[Wanted]] = {}
    for one in todo:
        alike.setdefault(one.training.model_dump_json(), []).append(one)
    for some in alike.values():
        count = -(-len(some) // size)
        for k in range(count):
            yield some[k * len(some) // count : (k + 1) * len(some) // count]


def _bank_size(answering: Answering, method: Mapping[str, object]) -> int:
    """As many experts as `MEMORY_SHARE` has room for; their activations are bounded by `part_positions`.

    One, where a module is about as wide as the backbone: rows of several experts would each read a copy of their own.
    """
    backbone = answering.backbone()
    values = parse_method(method).size(backbone)
    if values > _WIDE * sum(parameter.numel() for parameter in backbone.model.parameters()):
        return 1
    if isinstance(answering, HeadAnswering):
        values += backbone.width**2 + backbone.width
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, int(MEMORY_SHARE * memory / (4 * _COPIES * max(values, 1))))


def _train_bank(
    answering: Answering,
    group: Sequence[Wanted],
    method: Mapping[str, object],
    folder: Path,
    place: Path,
    label: str,
    quiet: bool,
) -> None:
    reset_peak_memory()
    training = group[0].training  # that of all
    tasks = {one.name: one.task for one in group}
    model = answering.model(tasks, method, tuned=False)
    for one in group:
        if one.start is not None:
            _load(model, one.name, one.start)
    rows = {name: answering.train[task] for name, task in tasks.items()}
    settings = training.model_copy(update={"batches": "parallel"})
    sampler = sampler_of(rows, parse("round_robin", "schedule"), settings, answering.recipe.seed, of=tasks)
    ledger = Ledger({name: len(mine) for name, mine in rows.items()}, sampler.planned())
    kept = _Kept(place, model, training.choose == "best")

    def evaluate() -> dict[str, float]:
        scores = {name: answering.dev_score(model, n, task) for n, (name, task) in enumerate(tasks.items())}
        kept.scored(scores, sampler.step)
        return scores

    def passed(epoch: int) -> None:
        if epoch == max(1, round(EARLY * sampler.epochs)):
            kept.embed(sampler.step)

    hooks = Hooks(evaluate, lambda scores: None, passed)
    with Monitor(place, label, quiet=quiet) as monitor:
        progress = train(
            model, answering.objective(tasks), sampler, ledger, settings, hooks, monitor, place, answering.recipe.seed
        )
    seconds, peak, drawn = progress.seconds / len(group), peak_memory_mb(), ledger.summary()
    kept.load()
    for n, one in enumerate(group):
        if finished_expert(folder / one.name) is not None:
            continue
        outcome = Outcome(
            task=one.task,
            parents=one.parents,
            steps=progress.step,
            train_seconds=seconds,
            peak_memory_mb=peak,
            parameters=model.parameters_of(one.name),
            ledger=drawn[one.name],
            **kept.about(one.name),  # type: ignore[arg-type]
        )
        answers = answering.answers(model, n, one.task)
        if Accelerator().is_main_process:
            with new_folder(folder / one.name / "result") as new:
                write_answers(new, {one.task: answers})
                for part in ("best", "early"):
                    shutil.copy(place / part / f"{one.name}.safetensors", new / f"{part}.safetensors")
                write_json(new / "expert.json", outcome.model_dump(mode="json"))
    Accelerator().wait_for_everyone()


def _load(model: Model, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Overwrite an expert's module, and its head where there are tensors of one."""
    module, head = split_head(tensors)
    model.bank.stack.load_expert(name, module)
    if head and isinstance(model, JointModel):
        model.heads.load_expert(name, head)


class _Kept:
    """What is kept of the experts while they are trained; in files, so that a resumed run has it too."""

    def __init__(self, place: Path, model: Model, best: bool) -> None:
        self.place, self.model, self.best = place, model, best
        self.path = place / "kept.json"
        known: dict[str, Any] = {"early_step": 0, "curves": {}}
        if self.path.exists():
            known = json.loads(self.path.read_text())
        self.early_step: int = known["early_step"]
        self.curves: dict[str, dict[int, float]] = {
            name: {int(step): score for step, score in curve.items()} for name, curve in known["curves"].items()
        }

    def scored(self, scores: Mapping[str, float], step: int) -> None:
        """Keep the experts that do better than ever before, or every one where the last is to be kept."""
        for name, score in scores.items():
            curve = self.curves.setdefault(name, {})
            # A step that is repeated after a crash is compared with the steps before it.
            before = [value for at, value in curve.items() if at < step]
            if not self.best or not before or score > max(before):
                self._save("best", name)
            curve[step] = score
        self._write()

    def embed(self, step: int) -> None:
        """Keep the modules as they are now as embeddings."""
        for name in self.model.names:
            self._save("early", name)
        self.early_step = step
        self._write()

    def about(self, name: str) -> dict[str, object]:
        """What an `Outcome` says of it."""
        curve = self.curves[name]
        last = max(curve)
        chosen = min(step for step in curve if curve[step] == max(curve.values())) if self.best else last
        return {"chosen_step": chosen, "dev": curve[chosen], "dev_curve": curve, "early_step": self.early_step}

    def load(self) -> None:
        """Put what was chosen into the model."""
        for name in self.model.names:
            _load(self.model, name, load_file(self.place / "best" / f"{name}.safetensors"))

    def _save(self, part: str, name: str) -> None:
        if not Accelerator().is_main_process:
            return
        tensors = dict(self.model.bank.stack.expert(name))
        if part == "best" and isinstance(self.model, JointModel):
            tensors |= {f"{HEAD}{key}": value for key, value in self.model.heads.expert(name).items()}
        write_tensors(self.place / part / f"{name}.safetensors", tensors)

    def _write(self) -> None:
        if Accelerator().is_main_process:
            write_json(self.path, {"early_step": self.early_step, "curves": self.curves})
