"""The rows of instruction tuning: what a certificate leaves, put into words and encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from multigraft.batching.text import TextEncoded, TextFormat, encode_text
from multigraft.errors import UserError, unknown
from multigraft.strategies.instruction_recipe import InstructionRecipe
from multigraft.tasks.holdout import Certificate
from multigraft.tasks.suite import Suite
from multigraft.tasks.task import Example, Task, sample
from multigraft.tasks.template import Template, assign, choose_templates, render

DEV, DEV_ROWS = "validation", 64  # rows of each training task on which the loss is watched


@dataclass(frozen=True)
class Worded:
    """Training tasks in words: encoded rows to train on, and to watch the loss on."""

    train: dict[str, TextEncoded]
    dev: dict[str, TextEncoded]


def training_tasks(recipe: InstructionRecipe, suite: Suite, certificate: Certificate) -> list[Task]:
    """The tasks to tune on, in the suite's order. Raises UserError for an unknown cluster, and when none is left."""
    for cluster in recipe.train_clusters or ():
        if cluster not in suite.clusters:
            raise unknown("cluster", cluster, suite.clusters, where="train_clusters")
    chosen = [
        task
        for task in suite.tasks.values()
        if task.name in certificate.trained_on
        and (recipe.train_clusters is None or set(recipe.train_clusters).intersection(task.clusters))
    ]
    if not chosen:
        held = ", ".join(certificate.clusters)
        raise UserError(f"nothing is left to train on without {held}", where="train_clusters", fix="name more clusters")
    return chosen


def training_templates(recipe: InstructionRecipe, task: Task) -> tuple[Template, ...]:
    """The wordings of a task to train with. Raises UserError where it has none, or fewer than were asked for."""
    if isinstance(recipe.templates, str):
        return choose_templates(task, recipe.templates)
    own = choose_templates(task, "all")
    if len(own) < recipe.templates:
        what = f"has {len(own)} templates, {recipe.templates} were asked for"
        raise UserError(what, where=f"task {task.name}", fix="lower templates")
    return own[: recipe.templates]


def word_tasks(
    recipe: InstructionRecipe, tasks: Sequence[Task], certificate: Certificate, form: TextFormat, tokenizer: Any
) -> Worded:
    """Every row in one of its task's templates, which is drawn for it. Raises UserError for bad rows and templates."""
    train, dev = {}, {}
    for task in tasks:
        templates = training_templates(recipe, task)
        train[task.name] = _encoded(recipe, task, _rows(recipe, task, certificate), templates, form, tokenizer, True)
        if DEV in task.split_names():
            rows = task.examples(DEV, DEV_ROWS)
            dev[task.name] = _encoded(recipe, task, rows, templates, form, tokenizer, False)
    return Worded(train, dev)


def _rows(recipe: InstructionRecipe, task: Task, certificate: Certificate) -> list[Example]:
    """Training rows without those that nearly repeat a held-out one; of more than the cap, a sample in file order."""
    dropped = set(certificate.dropped(task.name))
    return sample([row for n, row in enumerate(task.examples("train")) if n not in dropped], recipe.examples)


def _encoded(
    recipe: InstructionRecipe,
    task: Task,
    rows: Sequence[Example],
    templates: Sequence[Template],
    form: TextFormat,
    tokenizer: Any,
    training: bool,
) -> TextEncoded:
    chosen = assign(templates, task, len(rows), recipe.seed, training=training)
    worded = [render(templates[k], task, row, options=recipe.options) for k, row in zip(chosen, rows, strict=True)]
    return encode_text([(one.input, one.target) for one in worded], tokenizer, form)
