"""Instruction tuning: one model for many tasks in words, measured on clusters that it never saw (arXiv 2109.01652)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from accelerate import Accelerator

from multigraft.errors import UserError
from multigraft.evaluation.contamination import overlaps
from multigraft.evaluation.template_statistics import Templated
from multigraft.evaluation.templated import Asking, ask
from multigraft.files import new_folder
from multigraft.library.text_folder import load_text_model
from multigraft.methods.text_model import TextModel
from multigraft.runinfo import median_ms, peak_memory_mb, reset_peak_memory
from multigraft.strategies.comparison import Comparison, RunRecipe
from multigraft.strategies.instruction_data import training_rows, training_tasks, training_templates, word_tasks
from multigraft.strategies.instruction_recipe import CompareInstructions, InstructionRecipe
from multigraft.strategies.instruction_training import Training, fresh_model, train_model, trained
from multigraft.strategies.record import summary
from multigraft.strategies.results import HeldOut, TaskSummary
from multigraft.strategies.runs import RunResult, claimed, finished, keep_result
from multigraft.strategies.strategy import Strategy
from multigraft.tasks.holdout import Certificate, hold_out, read_certificate, verify
from multigraft.tasks.suite import Suite
from multigraft.tasks.task import Task
from multigraft.tasks.template import choose_templates

TIMED = 5  # times that a question is put, for the time of an answer


@dataclass(frozen=True)
class Part:
    """One model of a run, and what it is asked: the tasks of some held-out clusters."""

    clusters: tuple[str, ...]
    certificate: Certificate | None  # None when nothing is held out
    tested: list[Task]
    training: list[Task]  # none for the untuned backbone

    @property
    def name(self) -> str:
        """Of its folder."""
        return "+".join(self.clusters) or "all"


class InstructionTuning(Strategy):
    """For each held-out cluster: tune on what its certificate leaves, and ask the tasks of the cluster zero-shot.

    Models are kept under `models/`, so that rows which only ask in another way share them; certificates under
    `certificates/`.
    """

    name: ClassVar[str] = "instruction_tuning"
    recipe: ClassVar[type[RunRecipe]] = InstructionRecipe
    comparison: ClassVar[type[Comparison]] = CompareInstructions

    def __init__(self, root: Path, *, alone: bool = False) -> None:
        super().__init__(root, alone=alone)
        self._certificates: dict[str, Certificate] = {}

    def check(self, recipe: InstructionRecipe) -> None:
        for part in self._parts(recipe):
            for task in part.training:
                training_templates(recipe, task)
            for task in part.tested:
                choose_templates(task, recipe.score_templates)
        fresh_model(recipe, pretrained=False)

    def run(self, recipe: InstructionRecipe, folder: Path, *, quiet: bool) -> RunResult:
        done = finished(folder)
        if done is not None:
            return done
        reset_peak_memory()
        trainings: dict[str, Training] = {}
        answers: dict[str, Templated] = {}
        overlapping: dict[str, tuple[int, ...]] = {}
        milliseconds = 0.0
        for part in self._parts(recipe):
            if recipe.untuned:
                model = fresh_model(recipe, pretrained=recipe.backbone.pretrained)
            else:
                trainings[part.name] = self._trained(recipe, part, quiet)
                model = load_text_model(self.place(recipe, part.clusters) / "model")[0]
                overlapping |= _overlapping(recipe, part)
            answers |= answers_of_part(recipe, model, part.tested)
            milliseconds += sum(_answer_ms(recipe, model, task) for task in part.tested)
        result = RunResult(
            scores={name: float(found.scores().mean()) for name, found in answers.items()},
            parameters=model.shared_parameters() + model.bank.stack.width,
            trained_parameters=0 if recipe.untuned else _trained_parameters(model),
            one_model=model.shared_parameters(),
            train_seconds=sum(one.seconds for one in trainings.values()),
            peak_memory_mb=max([peak_memory_mb(), *(one.peak_memory_mb for one in trainings.values())]),
            answer_ms=milliseconds,
            steps=sum(one.steps for one in trainings.values()),
            chosen_step=sum(one.chosen_step for one in trainings.values()),
            ledger=_ledger(trainings),
            draws=next((one.draws for one in trainings.values()), {}),
            curve=next((one.curve for one in trainings.values()), {}),
            overlapping=overlapping,
            tuning_clusters=self._tuning_clusters(recipe),
        )
        keep_result(folder, result, answers)
        return result

    def write_model(self, recipe: InstructionRecipe, folder: Path, output: Path) -> None:
        groups = recipe.groups()
        if recipe.untuned or len(groups) != 1:
            why = "is the backbone itself" if recipe.untuned else f"is {len(groups)} models"
            raise UserError(f"{recipe.label()!r} {why}", fix="name another row with --row")
        with new_folder(output) as new:
            shutil.copytree(self.place(recipe, groups[0]) / "model", new, dirs_exist_ok=True)

    def scored(self, recipe: InstructionRecipe) -> list[Task]:
        return _tested(recipe, self.suite(recipe), recipe.hold_out)

    def tasks(self, recipe: InstructionRecipe) -> tuple[TaskSummary, ...]:
        limit = recipe.scored_examples
        return tuple(summary(t, recipe.examples, split_of(recipe, t), limit) for t in self.scored(recipe))

    def held_out(self, recipes: Sequence[InstructionRecipe]) -> tuple[HeldOut, ...]:
        parts = [part for recipe in recipes if not recipe.untuned for part in self._parts(recipe)]
        return tuple({part.name: _held_out(part.certificate) for part in parts if part.certificate}.values())

    def place(self, recipe: InstructionRecipe, clusters: tuple[str, ...]) -> Path:
        """The folder of a model: of the one model of a run alone, the folder itself."""
        name = Part(clusters, None, [], []).name
        if self.alone:
            return self.root if len(recipe.groups()) == 1 else self.root / name
        return self.root / "models" / recipe.model_key() / f"seed-{recipe.seed}" / name

    def _trained(self, recipe: InstructionRecipe, part: Part, quiet: bool) -> Training:
        with claimed(self.place(recipe, part.clusters)) as folder:
            done = trained(folder)
            if done is not None:
                return done
            if part.certificate:
                self._keep(part.certificate, part.name)
            model = fresh_model(recipe, pretrained=recipe.backbone.pretrained)
            form = model.backbone.text_format(recipe.text.max_input, recipe.text.max_target)
            words = word_tasks(recipe, part.training, part.certificate, form, model.backbone.tokenizer)
            label = f"without {', '.join(part.clusters)}" if part.clusters else "all tasks"
            return train_model(recipe, model, part.training, words, folder, label=label, quiet=quiet)

    def _parts(self, recipe: InstructionRecipe) -> Iterator[Part]:
        suite = self.suite(recipe)
        for clusters in recipe.groups():
            certificate = None if recipe.untuned or not clusters else self._certificate(suite, clusters)
            training = [] if recipe.untuned else training_tasks(recipe, suite, certificate)
            yield Part(clusters, certificate, _tested(recipe, suite, clusters), training)

    def _certificate(self, suite: Suite, clusters: tuple[str, ...]) -> Certificate:
        """The certificate kept in the folder, or a new one. Raises UserError when the kept one does not hold."""
        name = Part(clusters, None, [], []).name
        if name not in self._certificates:
            path = self.root / "certificates" / f"{name}.json"
            kept = read_certificate(path) if path.exists() else None
            faults = verify(kept, suite) if kept else []
            if faults:
                raise UserError(f"does not hold: {faults[0]}", where=path, fix="name another folder for the results")
            self._certificates[name] = kept or hold_out(suite, clusters)
        return self._certificates[name]

    def _keep(self, certificate: Certificate, name: str) -> None:
        folder = self.root / "certificates"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / f"{name}.json").exists():
            certificate.write(folder / f"{name}.json")

    def _tuning_clusters(self, recipe: InstructionRecipe) -> int | None:
        """How many clusters are trained on, where that is the same for all models."""
        counts = {
            len({name for task in part.training for name in task.clusters if name in (recipe.train_clusters or {name})})
            for part in self._parts(recipe)
        }
        return counts.pop() if len(counts) == 1 and not recipe.untuned else None


def answers_of_part(recipe: InstructionRecipe, model: TextModel, tasks: Sequence[Task]) -> dict[str, Templated]:
    """Answers of a model's one expert to tasks, zero-shot or with exemplars."""
    model.to(Accelerator().device)
    form = model.backbone.text_format(recipe.text.max_input, recipe.text.max_target)
    found = {}
    for task in tasks:
        split, dev = split_of(recipe, task), _dev_split(recipe, task)
        found[task.name] = ask(
            model, 0, task, recipe.score_templates, split, recipe.scored_examples, form, _asking(recipe),
            dev=(dev, recipe.dev_examples) if dev and recipe.dev_examples else None,
        )  # fmt: skip
    return found


def split_of(recipe: InstructionRecipe, task: Task) -> str:
    """The split that a task is scored on: its test split where it lacks the one that is asked for."""
    return recipe.score_on if recipe.score_on in task.split_names() else "test"


def _dev_split(recipe: InstructionRecipe, task: Task) -> str | None:
    """Where the best template is chosen. A held-out task's training rows were not trained on."""
    scored = split_of(recipe, task)
    return next((name for name in ("validation", "train") if name in task.split_names() and name != scored), None)


def _asking(recipe: InstructionRecipe) -> Asking:
    return Asking(
        norm=recipe.norm,
        options=recipe.options,
        shots=recipe.shots,
        max_tokens=recipe.text.max_target,
        precision=recipe.training.precision,
    )


def _answer_ms(recipe: InstructionRecipe, model: TextModel, task: Task) -> float:
    """Milliseconds to put one question of the task to the model: the median of a few times."""
    form = model.backbone.text_format(recipe.text.max_input, recipe.text.max_target)
    split, asking = split_of(recipe, task), _asking(recipe)
    return median_ms(lambda: ask(model, 0, task, "no template", split, 1, form, asking), TIMED)


def _overlapping(recipe: InstructionRecipe, part: Part) -> dict[str, tuple[int, ...]]:
    """Per tested task: the scored rows that a training text gives away."""
    if not part.tested:
        return {}
    scored = {task.name: task.examples(split_of(recipe, task), recipe.scored_examples) for task in part.tested}
    rows = ["\n".join(example.inputs) for examples in scored.values() for example in examples]
    training = (
        "\n".join(example.inputs) for task in part.training for example in training_rows(recipe, task, part.certificate)
    )
    found, first = overlaps(rows, training), 0
    by_task = {}
    for name, examples in scored.items():
        by_task[name] = tuple(np.flatnonzero(found[first : first + len(examples)]).tolist())
        first += len(examples)
    return by_task


def _tested(recipe: InstructionRecipe, suite: Suite, clusters: Sequence[str]) -> list[Task]:
    if recipe.seen:
        return training_tasks(recipe, suite, None)
    if recipe.unseen:
        return [task for task in suite.tasks.values() if task.name in recipe.unseen]
    return [task for task in suite.tasks.values() if set(clusters).intersection(task.clusters)]


def _trained_parameters(model: TextModel) -> int:
    return model.bank.stack.width + (model.shared_parameters() if model.tuned else 0)


def _ledger(trainings: Mapping[str, Training]) -> dict[str, dict[str, float]]:
    """Of all models; the tasks of one are told from those of another where there are several."""
    alone = len(trainings) == 1
    return {
        task if alone else f"{task} (without {name})": entry
        for name, training in trainings.items()
        for task, entry in training.ledger.items()
    }


def _held_out(certificate: Certificate) -> HeldOut:
    dropped = {name: len(certificate.dropped(name)) for name in certificate.trained_on}
    return HeldOut(
        clusters=certificate.clusters,
        tasks=certificate.held_out,
        trained_on=certificate.trained_on,
        left_out={
            one.task: "; ".join(reason.text for reason in one.reasons)
            for one in certificate.left_out
            if one.task not in certificate.held_out
        },
        dropped={name: count for name, count in dropped.items() if count},
        seal=certificate.seal,
    )
