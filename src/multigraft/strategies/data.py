"""The rows of a recipe, read and encoded once for every run that needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from multigraft.backbones.load import Backbone, load_backbone
from multigraft.batching.collate import Batch, collate
from multigraft.batching.encode import Encoded, encode
from multigraft.methods.base import parse_method
from multigraft.strategies.recipe import Recipe
from multigraft.tasks.suite import load_suite
from multigraft.tasks.task import Task

DEV = "validation"  # the split that models are chosen on


@dataclass(frozen=True)
class Data:
    """The rows of a recipe as token ids, in the order of the tasks."""

    tasks: list[Task]
    train: dict[str, Encoded]
    dev: dict[str, Encoded]
    scored: dict[str, Encoded]
    backbone: Backbone  # with random weights: for its shapes and its tokenizer
    text: Batch  # one dev row of median length, to time answers with

    def only(self, name: str) -> Data:
        """One task of it."""
        train, dev, scored = ({name: rows[name]} for rows in (self.train, self.dev, self.scored))
        if self.scored is self.dev:
            scored = dev
        return Data([task for task in self.tasks if task.name == name], train, dev, scored, self.backbone, self.text)


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
    return Data(tasks, train, dev, scored, backbone, median_text(list(dev.values()), backbone.pad_id))


def check(recipe: Recipe, data: Data) -> None:
    """Raises UserError when the recipe's method does not fit its backbone, before anything is trained."""
    length = min(recipe.training.max_length, data.backbone.max_length)
    parse_method(recipe.method).check(data.backbone, length)


def median_text(data: Sequence[Encoded], pad_id: int) -> Batch:
    """One row of median length, of all rows of several tasks."""
    lengths = np.concatenate([rows.lengths for rows in data])
    middle = int(np.argsort(lengths, kind="stable")[len(lengths) // 2])
    ends = np.cumsum([len(rows) for rows in data])
    owner = int(np.searchsorted(ends, middle, side="right"))
    return collate(data, [owner], [middle - int(ends[owner]) + len(data[owner])], pad_id)
