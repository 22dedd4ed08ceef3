"""The record of a comparison, from its finished runs."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multigraft.evaluation.baselines import bag_of_words, majority
from multigraft.evaluation.contamination import clean_score
from multigraft.evaluation.metrics import average, score
from multigraft.evaluation.statistics import Resampled, holm, interval, mean_stderr, paired
from multigraft.evaluation.template_statistics import Templated, resample_templates, summarise
from multigraft.evaluation.templated import chance, targets_of
from multigraft.runinfo import machine
from multigraft.strategies.comparison import Comparison, RunRecipe
from multigraft.strategies.results import (
    Clean,
    Curve,
    Difference,
    Draws,
    Estimate,
    Results,
    Row,
    TaskDifference,
    TaskSummary,
    Wordings,
)
from multigraft.strategies.runs import RunResult, answers_of, finished, together
from multigraft.strategies.strategy import Strategy
from multigraft.tasks.task import Task

Runs = Sequence[tuple[str, RunRecipe, Sequence[Path]]]  # label, recipe, and the folder of each seed


def record(recipe: Comparison, strategy: Strategy, runs: Runs) -> Results:
    """All that a comparison found out."""
    tasks = strategy.tasks(recipe)
    answers = {row.key(): together([answers_of(folder) for folder in folders]) for _, row, folders in runs}
    found = {key: resample_templates(mine) for key, mine in answers.items()}
    cap = getattr(recipe, "examples", None)
    return Results(
        title=recipe.title,
        suite=recipe.suite,
        backbone=recipe.backbone_name,
        examples=cap if isinstance(cap, int) else None,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=machine(),
        settings=recipe.model_dump(mode="json"),
        tasks=tasks,
        rows=tuple(
            _row(label, row, folders, tasks, answers[row.key()], found[row.key()]) for label, row, folders in runs
        ),
        differences=tuple(_differences(found)),
        by_task=tuple(_task_differences([row for _, row, _ in runs], [task.name for task in tasks], found)),
        held_out=strategy.held_out([row for _, row, _ in runs]),
        task_map=strategy.task_map([row for _, row, _ in runs]),
    )


def summary(task: Task, cap: int | None, split: str, limit: int | None) -> TaskSummary:
    """A task and its trivial baselines, fitted on at most `cap` of its training rows where it has any."""
    train = task.examples("train", cap) if "train" in task.split_names() else []
    scored = task.examples(split, limit)
    known, wanted = train and task.output.kind != "text", targets_of(scored)
    return TaskSummary(
        name=task.name,
        cluster=", ".join(task.clusters),
        kind=task.output.kind,
        metric=task.metric,
        train_rows=len(train),
        evaluation_rows=len(scored),
        split=split,
        majority=score(task.metric, majority(train, scored, task).astype(float), wanted) if known else None,
        bag_of_words=score(task.metric, bag_of_words(train, scored, task).astype(float), wanted) if known else None,
        chance=chance(task, scored),
    )


def _row(
    label: str,
    recipe: RunRecipe,
    folders: Sequence[Path],
    tasks: Sequence[TaskSummary],
    answers: Mapping[str, Templated],
    found: Resampled,
) -> Row:
    results = [_result(folder) for folder in folders]
    first, seeds = results[0], tuple(int(folder.name.removeprefix("seed-")) for folder in folders)
    return Row(
        id=recipe.key(),
        label=label,
        strategy=recipe.group,
        method=recipe.method_name,
        schedule=recipe.schedule_name,
        tuned=recipe.tuned,
        seeds=seeds,
        scores={task.name: _estimate(results, found, [task.name]) for task in tasks},
        average=_estimate(results, found, [task.name for task in tasks]),
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
        by_cluster={name: _estimate(results, found, members) for name, members in _clusters(recipe, tasks).items()},
        wordings={task: _wordings(one) for task, one in answers.items() if one.templates != ("",)},
        clean={task: _clean(one, results, task) for task, one in answers.items() if task in first.overlapping},
        tuning_clusters=first.tuning_clusters,
        bound=recipe.bound,
        heads=first.heads,
        learned_from=first.learned_from,
        series=recipe.series(),
    )


def _result(folder: Path) -> RunResult:
    result = finished(folder)
    assert result is not None
    return result


def _estimate(results: Sequence[RunResult], found: Resampled, tasks: Sequence[str]) -> Estimate:
    """The average over some tasks."""
    values = [average({task: result.scores[task] for task in tasks}) for result in results]
    mean, stderr = mean_stderr(values)
    return Estimate(values=tuple(values), mean=mean, stderr=stderr, interval=interval(found.only(tasks)))


def _clusters(recipe: RunRecipe, tasks: Sequence[TaskSummary]) -> dict[str, list[str]]:
    """The scored tasks of each held-out cluster."""
    members = {name: [t.name for t in tasks if name in t.cluster.split(", ")] for name in recipe.held_out_clusters()}
    return {name: found for name, found in members.items() if found}


def _wordings(answers: Templated) -> Wordings:
    figures = summarise(answers)
    return Wordings(
        by_template=figures.by_template,
        best=figures.best,
        lower_quartile=figures.lower_quartile,
        median=figures.median,
        upper_quartile=figures.upper_quartile,
    )


def _clean(answers: Templated, results: Sequence[RunResult], task: str) -> Clean:
    """Training texts may differ from seed to seed where tasks have more rows than the cap: what any of them has."""
    overlapping = np.zeros(len(answers.targets), dtype=bool)
    for result in results:
        overlapping[list(result.overlapping.get(task, ()))] = True
    figures = clean_score(answers, overlapping)
    gap = figures.difference
    return Clean(
        rows=figures.rows,
        overlapping=figures.overlapping,
        full=figures.full,
        clean=figures.clean,
        difference=gap.difference if gap else None,
        interval=gap.interval if gap else None,
    )


def _differences(found: Mapping[str, Resampled]) -> Iterator[Difference]:
    """All pairs of rows."""
    pairs = list(itertools.combinations(found, 2))
    for (a, b), figures in zip(pairs, _tested((found[a], found[b]) for a, b in pairs), strict=True):
        yield Difference(a=a, b=b, **figures)


def _task_differences(
    rows: Sequence[RunRecipe], tasks: Sequence[str], found: Mapping[str, Resampled]
) -> Iterator[TaskDifference]:
    """Every way that lets tasks share against one of its kind that does not, task by task."""
    pairs = [(row.key(), beside.key()) for row in rows if (beside := _without_sharing(row, rows)) is not None]
    cases = [(task, a, b) for a, b in pairs for task in tasks]
    runs = ((found[a].only([task]), found[b].only([task])) for task, a, b in cases)
    for (task, a, b), figures in zip(cases, _tested(runs), strict=True):
        yield TaskDifference(task=task, a=a, b=b, **figures)


def _tested(runs: Iterable[tuple[Resampled, Resampled]]) -> list[dict[str, Any]]:
    """Figures of a `Difference` for pairs of runs, p adjusted for all of them."""
    tests = [paired(a, b) for a, b in runs]
    adjusted = holm([test.p for test in tests])
    return [{**test._asdict(), "holm": p} for test, p in zip(tests, adjusted, strict=True)]


def _without_sharing(row: RunRecipe, rows: Sequence[RunRecipe]) -> RunRecipe | None:
    """The way of the same kind in which a task has only what its own rows taught; None for such a way itself."""
    if row.apart or row.group == "untuned":
        return None
    alike = [one for one in rows if one.apart and one.strategy == row.strategy]
    return next((one for one in alike if one.tuned == row.tuned), alike[0] if alike else None)
