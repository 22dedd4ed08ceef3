"""Multitask learning: one encoder for many tasks, with task modules and schedules (arXiv 1902.02671)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from multigraft.backbones.load import load_backbone
from multigraft.evaluation.scoring import answer_ms, predict_tasks, score_tasks, templated
from multigraft.evaluation.template_statistics import Templated
from multigraft.files import new_folder
from multigraft.library.card import Card, data_fingerprint
from multigraft.library.model_folder import ModelFile, build_model, load_model, save_model
from multigraft.methods.joint import JointModel
from multigraft.mixing.ledger import Ledger
from multigraft.runinfo import peak_memory_mb, reset_peak_memory
from multigraft.strategies.cards import maker
from multigraft.strategies.comparison import Comparison, RunRecipe
from multigraft.strategies.data import Data, check, load_data
from multigraft.strategies.recipe import CompareRecipe, Recipe
from multigraft.strategies.record import summary
from multigraft.strategies.results import TaskSummary
from multigraft.strategies.runs import RunResult, answers_of, finished, keep_result
from multigraft.strategies.sampling import sampler_of
from multigraft.strategies.strategy import Strategy
from multigraft.tasks.task import Task
from multigraft.training.loop import Hooks, train
from multigraft.training.monitor import Monitor
from multigraft.training.objective import HeadObjective


def run(recipe: Recipe, data: Data, folder: Path, *, quiet: bool = False) -> RunResult:
    """Train, score and keep what the recipe says, in `folder`; a run that is finished there is not repeated.

    Under `accelerate launch` every process calls it, and the main one writes. Raises UserError for settings that do
    not fit together.
    """
    done = finished(folder)
    if done is not None:
        return done
    result, answers = (_separate if recipe.separate else _joint)(recipe, data, folder, quiet)
    keep_result(folder, result, answers)
    return result


def _separate(recipe: Recipe, data: Data, folder: Path, quiet: bool) -> tuple[RunResult, dict[str, Templated]]:
    """One model per task; each draws as many rows as the schedule would have given its task in a joint run."""
    parts: list[RunResult] = []
    answers: dict[str, Templated] = {}
    sampler = sampler_of(data.train, recipe.parsed_schedule(), recipe.training, recipe.seed)
    planned = dict(zip(sampler.names, sampler.planned().sum(0).tolist(), strict=True))
    shares = separate_steps(planned, recipe.training.batch_size)
    for task in data.tasks:
        training = recipe.training.model_copy(update={"steps": shares[task.name], "passes": None})
        alone = recipe.model_copy(update={"separate": False, "tasks": (task.name,), "training": training})
        parts.append(run(alone, data.only(task.name), folder / task.name, quiet=quiet))
        answers |= answers_of(folder / task.name)
    result = RunResult(
        scores={name: score for part in parts for name, score in part.scores.items()},
        parameters=sum(part.parameters for part in parts),
        trained_parameters=sum(part.trained_parameters for part in parts),
        one_model=parts[0].one_model,
        train_seconds=sum(part.train_seconds for part in parts),
        peak_memory_mb=max(part.peak_memory_mb for part in parts),
        answer_ms=sum(part.answer_ms for part in parts),
        steps=sum(part.steps for part in parts),
        chosen_step=sum(part.chosen_step for part in parts),
        ledger={name: row for part in parts for name, row in part.ledger.items()},
        draws={},
        curve={},
    )
    return result, answers


def separate_steps(planned: Mapping[str, float], batch_size: int) -> dict[str, int]:
    """Steps of each task's own model, from the rows of it that a joint run is planned to draw; at least one step."""
    bounds = np.rint(np.cumsum([0.0, *planned.values()]) / batch_size).astype(int)
    return {name: max(1, int(steps)) for name, steps in zip(planned, np.diff(bounds), strict=True)}


def _joint(recipe: Recipe, data: Data, folder: Path, quiet: bool) -> tuple[RunResult, dict[str, Templated]]:
    """One model for all tasks of `data`."""
    reset_peak_memory()
    model = _model(recipe, data)
    base = model.backbone.fingerprint
    sampler = sampler_of(data.train, recipe.parsed_schedule(), recipe.training, recipe.seed)
    ledger = Ledger({name: len(rows) for name, rows in data.train.items()}, sampler.planned())
    latest: dict[str, np.ndarray] = {}  # dev predictions of the model as it stands
    kept: dict[str, np.ndarray] = {}  # and of the one that was kept

    def evaluate() -> dict[str, float]:
        latest.update(predict_tasks(model, data.dev, recipe.training.precision))
        return score_tasks(data.tasks, latest, data.dev)

    def keep(scores: Mapping[str, float]) -> None:
        kept.update(latest)
        cards = _cards(model, recipe, data, scores, sampler.step)
        save_model(folder / "model", model, _model_file(recipe, data, base), cards)

    with Monitor(folder, recipe.label(), quiet=quiet) as monitor:
        progress = train(
            model, HeadObjective(list(data.train.values()), model.backbone.pad_id), sampler, ledger, recipe.training,
            Hooks(evaluate, keep), monitor, folder, recipe.seed,
        )  # fmt: skip
    peak = peak_memory_mb()
    chosen = progress.best_step if recipe.training.choose == "best" else progress.step
    if chosen != progress.step:
        model = load_model(folder / "model")[0].to(next(model.encoder.parameters()).device)
    known = kept if data.scored is data.dev else {}  # empty too when a finished training was only resumed
    predictions = dict(known) or predict_tasks(model, data.scored, recipe.training.precision)
    modules = sum(model.parameters_of(name) for name in model.names)
    result = RunResult(
        scores=score_tasks(data.tasks, predictions, data.scored),
        parameters=model.shared_parameters() + modules,
        trained_parameters=modules + (model.shared_parameters() if model.tuned else 0),
        one_model=model.shared_parameters() + model.heads.size(model.names[0]),
        train_seconds=progress.seconds,
        peak_memory_mb=peak,
        answer_ms=answer_ms(model, data.text, recipe.training.precision),
        steps=progress.step,
        chosen_step=chosen,
        ledger=ledger.summary(),
        draws={name: tuple(shares) for name, shares in ledger.drawn_shares().items()},
        curve={key: tuple(values) for key, values in monitor.curve().items()},
    )
    answers = {task.name: templated(task, data.scored[task.name], predictions[task.name]) for task in data.tasks}
    return result, answers


def _model(recipe: Recipe, data: Data) -> JointModel:
    settings = recipe.backbone
    return build_model(
        load_backbone(settings.name, pretrained=settings.pretrained, seed=recipe.seed),
        data.tasks,
        recipe.method,
        pooling=settings.pooling,
        pooler=settings.pooler_kind,
        tuned=settings.tuned,
        seed=recipe.seed,
    )


def _model_file(recipe: Recipe, data: Data, fingerprint: str) -> ModelFile:
    return ModelFile(
        suite=recipe.suite,
        backbone=recipe.backbone.name,
        backbone_fingerprint=fingerprint,
        pretrained=recipe.backbone.pretrained,
        seed=recipe.seed,
        tuned=recipe.backbone.tuned,
        pooling=recipe.backbone.pooling,
        pooler=recipe.backbone.pooler_kind,
        method=recipe.method,
        max_length=recipe.training.max_length,
        precision=recipe.training.precision,
        tasks=tuple(task.model_dump(mode="json", exclude_none=True) for task in data.tasks),
    )


def _cards(model: JointModel, recipe: Recipe, data: Data, scores: Mapping[str, float], step: int) -> dict[str, Card]:
    make = maker(model, recipe.backbone.name, recipe.method, recipe.seed, step)
    return {
        task.name: make(
            task=task.name,
            data_fingerprint=data_fingerprint(data.train[task.name]),
            scores={task.metric: scores[task.name]},
            licence=task.licence,
        )
        for task in data.tasks
    }


class Multitask(Strategy):
    """Rows of a comparison that share an encoder; the data is read and encoded once for all that read the same."""

    name: ClassVar[str] = "multitask"
    recipe: ClassVar[type[RunRecipe]] = Recipe
    comparison: ClassVar[type[Comparison]] = CompareRecipe

    def __init__(self, root: Path, *, alone: bool = False) -> None:
        super().__init__(root, alone=alone)
        self._data: dict[str, Data] = {}

    def check(self, recipe: Recipe) -> None:
        check(recipe, self._of(recipe))

    def run(self, recipe: Recipe, folder: Path, *, quiet: bool) -> RunResult:
        return run(recipe, self._of(recipe), folder, quiet=quiet)

    def write_model(self, recipe: Recipe, folder: Path, output: Path) -> None:
        """The model, or one for each task in a folder of the task's name."""
        with new_folder(output) as new:
            if recipe.separate:
                for task in self.scored(recipe):
                    shutil.copytree(folder / task.name / "model", new / task.name / "model")
            else:
                shutil.copytree(folder / "model", new, dirs_exist_ok=True)

    def scored(self, recipe: Recipe) -> list[Task]:
        return self._of(recipe).tasks

    def tasks(self, recipe: Recipe) -> tuple[TaskSummary, ...]:
        return tuple(
            summary(task, recipe.cap(task.name), recipe.score_on, recipe.scored_examples)
            for task in self.scored(recipe)
        )

    def _of(self, recipe: Recipe) -> Data:
        key = json.dumps([recipe.suite, recipe.tasks, recipe.examples, recipe.scored_examples, recipe.score_on,
                          recipe.backbone.name, recipe.training.max_length])  # fmt: skip
        if key not in self._data:
            self._data[key] = load_data(recipe)
        return self._data[key]
