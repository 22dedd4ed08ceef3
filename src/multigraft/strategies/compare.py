"""The comparison: every row of a recipe with every seed, on equal terms, and what can be said of the differences."""

from __future__ import annotations

import datetime
import fcntl
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from multigraft.errors import UserError
from multigraft.evaluation.baselines import bag_of_words, majority
from multigraft.evaluation.metrics import average, score
from multigraft.evaluation.statistics import Predictions, Resampled, interval, mean_stderr, paired, resample
from multigraft.files import write_json
from multigraft.runinfo import machine
from multigraft.strategies import multitask
from multigraft.strategies.data import Data, check, load_data
from multigraft.strategies.recipe import CompareRecipe, Recipe
from multigraft.strategies.results import Curve, Difference, Draws, Estimate, Results, Row, TaskSummary
from multigraft.strategies.runs import RunResult, finished, predictions_of
from multigraft.tasks.task import Task

Announce = Callable[[str], None]


def compare(
    recipe: CompareRecipe, folder: Path, *, announce: Announce = lambda line: None, quiet: bool = False
) -> Results:
    """Run what is not finished in `folder` yet, and write `folder/results.json`.

    Rows share the data, the seeds and the number of rows drawn. Runs are kept under `folder/runs/KEY/seed-N`;
    two processes may work on different seeds of one folder at the same time. `announce` is told of every run.
    Raises UserError for a row that cannot be run, before the first run starts.
    """
    rows = recipe.resolved()
    before = _results_of(recipe, folder)
    if before is not None:
        return before
    data = _DataCache()
    todo = [(label, row, seed) for seed in recipe.seeds for label, row in rows if not _finished(folder, row, seed)]
    for _, row in rows:
        check(row, data.of(row))
    for number, (label, row, seed) in enumerate(todo, 1):
        announce(f"run {number} of {len(todo)}: {label}, seed {seed}")
        seeded = row.model_copy(update={"seed": seed})
        with _claimed(run_folder(folder, row, seed)) as place:
            multitask.run(seeded, data.of(row), place, quiet=quiet)
    results = _results(recipe, rows, data, folder)
    if Accelerator().is_main_process:
        write_json(folder / "results.json", results.model_dump(mode="json"))
    return results


def run_folder(folder: Path, row: Recipe, seed: int) -> Path:
    """Where the run of a row with a seed is kept."""
    return folder / "runs" / row.key() / f"seed-{seed}"


def _finished(folder: Path, row: Recipe, seed: int) -> bool:
    return finished(run_folder(folder, row, seed)) is not None


def _results_of(recipe: CompareRecipe, folder: Path) -> Results | None:
    """The results in `folder` if they are of this recipe and whole; others are written anew from the runs."""
    path = folder / "results.json"
    try:
        results = Results.model_validate_json(path.read_bytes()) if path.exists() else None
    except ValueError:
        return None
    return results if results is not None and results.settings == recipe.model_dump(mode="json") else None


@contextmanager
def _claimed(folder: Path) -> Iterator[Path]:
    """The folder of a run, for this process only. Raises UserError when another one is at work there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            if Accelerator().is_main_process:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError("another process is at work here", where=folder, fix="wait for it to end") from None
        yield folder


class _DataCache:
    """Encoded data, read once for all rows that read the same."""

    def __init__(self) -> None:
        self._known: dict[str, Data] = {}

    def of(self, row: Recipe) -> Data:
        key = json.dumps([row.suite, row.tasks, row.examples, row.scored_examples, row.score_on,
                          row.backbone.name, row.training.max_length])  # fmt: skip
        if key not in self._known:
            self._known[key] = load_data(row)
        return self._known[key]


def _results(recipe: CompareRecipe, rows: list[tuple[str, Recipe]], data: _DataCache, folder: Path) -> Results:
    tasks = data.of(recipe).tasks
    metrics: dict[str, str] = {task.name: task.metric for task in tasks}
    found = {row.key(): resample(_predictions(folder, row, recipe.seeds), metrics) for _, row in rows}
    return Results(
        title=recipe.title,
        suite=recipe.suite,
        backbone=recipe.backbone.name,
        examples=recipe.examples if isinstance(recipe.examples, int) else None,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=machine(),
        settings=recipe.model_dump(mode="json"),
        tasks=tuple(_summary(recipe, task) for task in tasks),
        rows=tuple(_row(label, row, folder, recipe.seeds, found[row.key()]) for label, row in rows),
        differences=tuple(_differences(found)),
    )


def _summary(recipe: Recipe, task: Task) -> TaskSummary:
    """A task and its trivial baselines, fitted on the rows that the models are trained on."""
    train = task.examples("train", recipe.cap(task.name))
    scored = task.examples(recipe.score_on, recipe.scored_examples)
    wanted = np.array([row.target for row in scored], dtype=np.float64)
    return TaskSummary(
        name=task.name,
        cluster=", ".join(task.clusters),
        kind=task.output.kind,
        metric=task.metric,
        train_rows=len(train),
        evaluation_rows=len(scored),
        split=recipe.score_on,
        majority=score(task.metric, majority(train, scored, task), wanted),
        bag_of_words=score(task.metric, bag_of_words(train, scored, task), wanted),
    )


def _predictions(folder: Path, row: Recipe, seeds: tuple[int, ...]) -> Predictions:
    runs = [predictions_of(run_folder(folder, row, seed)) for seed in seeds]
    return {task: (runs[0][task][0], [run[task][1] for run in runs]) for task in runs[0]}


def _row(label: str, recipe: Recipe, folder: Path, seeds: tuple[int, ...], found: Resampled) -> Row:
    results = [_result(folder, recipe, seed) for seed in seeds]
    first = results[0]
    return Row(
        id=recipe.key(),
        label=label,
        strategy=recipe.strategy,
        method=None if recipe.strategy != "module" else recipe.method["name"],
        schedule="" if recipe.separate else recipe.schedule["name"],
        tuned=recipe.backbone.tuned,
        seeds=seeds,
        scores={task: _estimate([result.scores[task] for result in results], found, task) for task in first.scores},
        average=_estimate([average(result.scores) for result in results], found, None),
        parameters=first.parameters,
        trained_parameters=first.trained_parameters,
        relative=first.parameters / first.one_model,
        train_seconds=float(np.mean([result.train_seconds for result in results])),
        peak_memory_mb=max(result.peak_memory_mb for result in results),
        answer_ms=float(np.median([result.answer_ms for result in results])),
        ledger={task: Draws.model_validate(entry) for task, entry in first.ledger.items()},
        draws=first.draws,
        curves=tuple(
            Curve.model_validate({"seed": seed, **result.curve})
            for seed, result in zip(seeds, results, strict=True)
            if result.curve
        ),
    )


def _result(folder: Path, recipe: Recipe, seed: int) -> RunResult:
    result = finished(run_folder(folder, recipe, seed))
    assert result is not None
    return result


def _estimate(values: list[float], found: Resampled, task: str | None) -> Estimate:
    mean, stderr = mean_stderr(values)
    return Estimate(values=tuple(values), mean=mean, stderr=stderr, interval=interval(found, task))


def _differences(found: dict[str, Resampled]) -> Iterator[Difference]:
    """All pairs of rows, each tested by itself: whoever looks at many has to adjust for that (`statistics.holm`)."""
    for a, b in itertools.combinations(found, 2):
        yield Difference(a=a, b=b, **paired(found[a], found[b])._asdict())
