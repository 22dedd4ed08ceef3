"""Multitask learning: one encoder for many tasks, with task modules and schedules (arXiv 1902.02671)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.numpy import load_file, save_file

from multigraft.backbones.load import Backbone, load_backbone
from multigraft.batching.collate import collate
from multigraft.batching.encode import Encoded, encode
from multigraft.evaluation.scoring import predict_tasks, score_tasks, targets
from multigraft.files import new_folder, write_json
from multigraft.library.card import Card, data_fingerprint, tokenizer_fingerprint
from multigraft.library.model_folder import ModelFile, build_model, load_model, save_model
from multigraft.methods.base import parse_method
from multigraft.methods.joint import JointModel
from multigraft.mixing.ledger import Ledger
from multigraft.mixing.sampler import Sampler
from multigraft.runinfo import machine, peak_memory_mb, reset_peak_memory
from multigraft.settings import Record
from multigraft.strategies.recipe import Recipe
from multigraft.tasks.suite import load_suite
from multigraft.tasks.task import Task
from multigraft.training.loop import Hooks, train
from multigraft.training.monitor import Monitor
from multigraft.training.precision import computing_in
from multigraft.training.settings import TrainingSettings

DEV = "validation"  # the split that models are chosen on


@dataclass(frozen=True)
class Data:
    """The rows of a recipe as token ids, in the order of the tasks."""

    tasks: list[Task]
    train: dict[str, Encoded]
    dev: dict[str, Encoded]
    scored: dict[str, Encoded]
    backbone: Backbone  # with random weights: for its shapes and its tokenizer

    def only(self, name: str) -> Data:
        """One task of it."""
        train, dev, scored = ({name: rows[name]} for rows in (self.train, self.dev, self.scored))
        if self.scored is self.dev:
            scored = dev
        return Data([task for task in self.tasks if task.name == name], train, dev, scored, self.backbone)


class RunResult(Record):
    """What one run with one seed found out: `result.json`."""

    scores: dict[str, float]
    parameters: int
    trained_parameters: int
    one_model: int  # parameters of one backbone with one head, to compare with
    train_seconds: float
    peak_memory_mb: float
    answer_ms: float
    steps: int
    chosen_step: int
    ledger: dict[str, dict[str, float]]
    draws: dict[str, tuple[float, ...]]
    curve: dict[str, tuple[float, ...]]


def load_data(recipe: Recipe) -> Data:
    """Read and encode the recipe's tasks. Raises UserError for bad rows and for tasks an encoder cannot answer."""
    suite = load_suite(recipe.suite)
    tasks = list((suite.subset(recipe.tasks) if recipe.tasks is not None else suite).tasks.values())
    backbone = load_backbone(recipe.backbone.name, pretrained=False)
    length = min(recipe.training.max_length, backbone.max_length)

    for name in recipe.examples if isinstance(recipe.examples, dict) else ():
        suite.subset([name])  # raises for a cap on a task that is not there

    def rows(task: Task, split: str, limit: int | None) -> Encoded:
        return encode(task, task.examples(split, limit), backbone.tokenizer, length)

    train = {task.name: rows(task, "train", recipe.cap(task.name)) for task in tasks}
    dev = {task.name: rows(task, DEV, recipe.scored_examples) for task in tasks}
    scored = dev
    if recipe.score_on != DEV:
        scored = {task.name: rows(task, recipe.score_on, recipe.scored_examples) for task in tasks}
    return Data(tasks, train, dev, scored, backbone)


def check(recipe: Recipe, data: Data) -> None:
    """Raises UserError when the recipe's method does not fit its backbone, before anything is trained."""
    parse_method(recipe.method).specs(data.backbone)


def run(recipe: Recipe, data: Data, folder: Path, *, quiet: bool = False) -> RunResult:
    """Train, score and keep what the recipe says, in `folder`; a run that is finished there is not repeated.

    Under `accelerate launch` every process calls it, and the main one writes. Raises UserError for settings that do
    not fit together.
    """
    done = finished(folder)
    if done is not None:
        return done
    if recipe.separate:
        result, predictions = _separate(recipe, data, folder, quiet)
    else:
        result, predictions = _joint(recipe, data, folder, quiet)
    accelerator = Accelerator()
    if accelerator.is_main_process:
        _keep_result(folder, result, predictions, data)
    accelerator.wait_for_everyone()
    return result


def _keep_result(folder: Path, result: RunResult, predictions: Mapping[str, np.ndarray], data: Data) -> None:
    with new_folder(folder / "result") as new:
        save_file(
            {name: np.ascontiguousarray(values) for name, values in predictions.items()},
            new / "predictions.safetensors",
        )
        save_file({name: targets(rows) for name, rows in data.scored.items()}, new / "targets.safetensors")
        write_json(new / "result.json", result.model_dump(mode="json"))
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)  # of no more use, and three times the model's size


def finished(folder: Path) -> RunResult | None:
    """The result of a run that was finished in `folder`, or None."""
    path = folder / "result" / "result.json"
    return RunResult.model_validate_json(path.read_text()) if path.exists() else None


def predictions_of(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Targets and predictions of a finished run, by task: n each."""
    wanted, found = (
        load_file(folder / "result/targets.safetensors"),
        load_file(folder / "result/predictions.safetensors"),
    )
    return {name: (wanted[name], found[name]) for name in wanted}


def _separate(recipe: Recipe, data: Data, folder: Path, quiet: bool) -> tuple[RunResult, dict[str, np.ndarray]]:
    """One model per task; together they draw as many rows as one for all, each in proportion to its own."""
    parts: list[RunResult] = []
    predictions: dict[str, np.ndarray] = {}
    shares = separate_steps(recipe.training, {name: len(rows) for name, rows in data.train.items()})
    for task in data.tasks:
        training = recipe.training.model_copy(update={"steps": shares[task.name], "passes": None})
        alone = recipe.model_copy(update={"separate": False, "tasks": (task.name,), "training": training})
        parts.append(run(alone, data.only(task.name), folder / task.name, quiet=quiet))
        predictions[task.name] = predictions_of(folder / task.name)[task.name][1]
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
    return result, predictions


def separate_steps(training: TrainingSettings, sizes: Mapping[str, int]) -> dict[str, int]:
    """Steps of each task's own model: the joint run's rows in proportion to `sizes`, at least one step each."""
    total = sum(sizes.values())
    steps = training.steps_for(total, len(sizes)) * training.rows_in_step(len(sizes)) // training.batch_size
    bounds = np.rint(np.cumsum([0, *sizes.values()]) * steps / total).astype(int)
    return {name: max(1, int(share)) for name, share in zip(sizes, np.diff(bounds), strict=True)}


def _joint(recipe: Recipe, data: Data, folder: Path, quiet: bool) -> tuple[RunResult, dict[str, np.ndarray]]:
    """One model for all tasks of `data`."""
    reset_peak_memory()
    torch.manual_seed(recipe.seed)
    backbone = load_backbone(recipe.backbone.name, pretrained=recipe.backbone.pretrained, seed=recipe.seed)
    base = backbone.fingerprint
    model = build_model(
        backbone,
        data.tasks,
        recipe.method,
        pooling=recipe.backbone.pooling,
        pooler=recipe.backbone.pooler_kind,
        tuned=recipe.backbone.tuned,
        seed=recipe.seed,
    )
    sampler = _sampler(recipe, data)
    ledger = Ledger({name: len(rows) for name, rows in data.train.items()}, sampler.planned())

    latest: dict[str, np.ndarray] = {}  # dev predictions of the model as it stands
    kept: dict[str, np.ndarray] = {}  # and of the one that was kept

    def evaluate(current: JointModel) -> dict[str, float]:
        latest.update(predict_tasks(current, data.dev, recipe.training.precision))
        return score_tasks(data.tasks, latest, data.dev)

    def keep(current: JointModel, scores: Mapping[str, float]) -> None:
        kept.update(latest)
        cards = _cards(current, recipe, data, scores, sampler.step)
        save_model(folder / "model", current, _model_file(recipe, data, base), cards)

    with Monitor(folder, recipe.label(), quiet=quiet) as monitor:
        progress = train(
            model, list(data.train.values()), sampler, ledger, recipe.training,
            Hooks(evaluate, keep), monitor, folder, recipe.seed,
        )  # fmt: skip
        curve = {key: tuple(values) for key, values in monitor.curve().items()}
    peak = peak_memory_mb()
    chosen = progress.best_step if recipe.training.choose == "best" else progress.step
    if chosen != progress.step:
        device = next(model.encoder.parameters()).device
        model = load_model(folder / "model")[0].to(device)
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
        answer_ms=answer_ms(model, data, recipe.training.precision),
        steps=progress.step,
        chosen_step=chosen,
        ledger=ledger.summary(),
        draws={name: tuple(shares) for name, shares in ledger.drawn_shares().items()},
        curve=curve,
    )
    return result, predictions


def _sampler(recipe: Recipe, data: Data) -> Sampler:
    sizes = {name: len(rows) for name, rows in data.train.items()}
    steps = recipe.training.steps_for(sum(sizes.values()), len(sizes))
    return Sampler(
        sizes,
        {name: rows.lengths.tolist() for name, rows in data.train.items()},
        recipe.parsed_schedule(),
        batch_size=recipe.training.batch_size,
        steps=steps,
        epochs=min(recipe.training.epochs, steps),
        mode=recipe.training.batches,
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
    backbone = model.backbone
    fingerprint = backbone.weights_fingerprint() if model.tuned else backbone.fingerprint
    tokenizer = tokenizer_fingerprint(backbone.tokenizer)
    versions = {key: value for key, value in machine().items() if key in ("multigraft", "torch", "transformers")}
    return {
        task.name: Card(
            task=task.name,
            method=recipe.method,
            backbone=recipe.backbone.name,
            backbone_fingerprint=fingerprint,
            tokenizer_fingerprint=tokenizer,
            data_fingerprint=data_fingerprint(data.train[task.name]),
            template=None,
            seed=recipe.seed,
            steps=step,
            scores={task.metric: scores[task.name]},
            licence=task.licence,
            parents=(),
            versions=versions,
        )
        for task in data.tasks
    }


@torch.inference_mode()
def answer_ms(model: JointModel, data: Data, precision: str, repeats: int = 9) -> float:
    """Milliseconds to answer one text for all tasks of the model: the median over `repeats`.

    The text is the dev row of median length.
    """
    model.eval()
    device = next(model.encoder.parameters()).device
    rows = list(data.dev.values())
    lengths = np.concatenate([r.lengths for r in rows])
    middle = int(np.argsort(lengths, kind="stable")[len(lengths) // 2])
    bounds = np.cumsum([len(r) for r in rows])
    owner = int(np.searchsorted(bounds, middle, side="right"))
    row = middle - (int(bounds[owner - 1]) if owner else 0)
    batch = collate(rows, [owner], [row], model.backbone.pad_id).to(device)
    types = None if batch.token_type_ids is None else batch.token_type_ids[:1]
    times = []
    for _ in range(repeats + 2):
        begin = time.perf_counter()
        with computing_in(precision, device):
            model.answer_all(batch.input_ids[:1], batch.attention_mask[:1], types, range(len(model.names))).cpu()
        times.append(1000 * (time.perf_counter() - begin))
    return float(np.median(times[2:]))
