"""Scores of a trained model with their intervals and the majority baseline."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from multigraft.batching.encode import encode
from multigraft.errors import unknown
from multigraft.evaluation.baselines import majority
from multigraft.evaluation.metrics import score
from multigraft.evaluation.scoring import predict, targets
from multigraft.evaluation.statistics import interval, resample
from multigraft.library.model_folder import find_models, load_model
from multigraft.tasks.suite import load_suite


class TaskScore(NamedTuple):
    """Score of one task, in per cent."""

    task: str
    metric: str
    rows: int
    score: float
    interval: tuple[float, float]  # 95 %, bootstrap over the rows
    majority: float


def score_model(
    folder: Path, suite: str | None, split: str, only: list[str] | None, limit: int | None
) -> list[TaskScore]:
    """Score the model, or models, in `folder` on a split of their tasks.

    The rows come from the tasks of the same names in `suite`, by default the one that the model was trained on.
    Raises UserError for unknown tasks and bad rows.
    """
    found: list[TaskScore] = []
    names: list[str] = []
    for place in find_models(folder):
        model, tasks, file = load_model(place)
        names += list(tasks)
        for name in tasks:
            if only is not None and name not in only:
                continue
            task = load_suite(suite or file.suite).subset([name]).tasks[name]
            rows = task.examples(split, limit)
            data = encode(task, rows, model.backbone.tokenizer, min(file.max_length, model.backbone.max_length))
            predictions, wanted = predict(model, data, model.names.index(name), file.precision), targets(data)
            found.append(
                TaskScore(
                    name,
                    task.metric,
                    len(rows),
                    score(task.metric, predictions, wanted),
                    interval(resample({name: (wanted, [predictions])}, {name: task.metric})),
                    score(
                        task.metric, majority(task.examples("train"), rows, task), np.array([r.target for r in rows])
                    ),
                )
            )
    for name in only or ():
        if name not in names:
            raise unknown("task", name, names, folder)
    return found
