"""The rows of instruction tuning: what a certificate leaves, put into words and encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from multigraft.batching.text import TextEncoded, TextFormat, encode_text
from multigraft.errors import UserError, unknown
from multigraft.evaluation.shots import BUDGET, draw, with_shots
from multigraft.strategies.instruction_recipe import InstructionRecipe
from multigraft.tasks.holdout import Certificate
from multigraft.tasks.suite import Suite
from multigraft.tasks.task import Example, Task, sample
from multigraft.tasks.template import Rendered, Template, assign, choose_templates, render

DEV, DEV_ROWS = "validation", 64  # rows of each training task on which the loss is watched


@dataclass(frozen=True)
class Worded:
    """Training tasks in words: encoded rows to train on, and to watch the loss on."""

    train: dict[str, TextEncoded]
    dev: dict[str, TextEncoded]


def training_tasks(recipe: InstructionRecipe, suite: Suite, certificate: Certificate | None) -> list[Task]:
    """The tasks to tune on, in the suite's order: those of the certificate, or without one all with training rows.

    Raises UserError for an unknown cluster or task, and when none is left.
    """
    for name in recipe.unseen:
        if name not in suite.tasks:
            raise unknown("task", name, suite.tasks, where="unseen")
    for cluster in recipe.train_clusters or ():
        if cluster not in suite.clusters:
            raise unknown("cluster", cluster, suite.clusters, where="train_clusters")
    chosen = [
        task
        for task in suite.tasks.values()
        if (task.name in certificate.trained_on if certificate else "train" in task.split_names())
        and task.name not in recipe.unseen
        and (recipe.train_clusters is None or set(recipe.train_clusters).intersection(task.clusters))
    ]
    if not chosen:
        held = f" without {', '.join(certificate.clusters)}" if certificate else ""
        raise UserError(f"nothing is left to train on{held}", where="train_clusters", fix="name more clusters")
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


def training_rows(recipe: InstructionRecipe, task: Task, certificate: Certificate | None) -> list[Example]:
    """Training rows without those that nearly repeat a held-out one; of more than the cap, a sample in file order."""
    dropped = set(certificate.dropped(task.name)) if certificate else set()
    return sample([row for n, row in enumerate(task.examples("train")) if n not in dropped], recipe.examples)


def word_tasks(
    recipe: InstructionRecipe, tasks: Sequence[Task], certificate: Certificate | None, form: TextFormat, tokenizer: Any
) -> Worded:
    """Every row in one of its task's templates, which is drawn for it. Raises UserError for bad rows and templates."""
    train, dev = {}, {}
    for task in tasks:
        rows = training_rows(recipe, task, certificate)
        words = Words(recipe, task, training_templates(recipe, task), rows, form, tokenizer)
        train[task.name] = words.encode(rows, training=True)
        if DEV in task.split_names():
            dev[task.name] = words.encode(task.examples(DEV, DEV_ROWS), training=False)
    return Worded(train, dev)


class Wording(Protocol):
    """What recipes say about wording."""

    @property
    def seed(self) -> int: ...

    @property
    def options(self) -> bool: ...

    @property
    def training_shots(self) -> int: ...


@dataclass(frozen=True)
class Words:
    """How a task is put into words; exemplars come from the `pool`."""

    recipe: Wording
    task: Task
    templates: Sequence[Template]
    pool: Sequence[Example]
    form: TextFormat
    tokenizer: Any

    def encode(self, rows: Sequence[Example], *, training: bool) -> TextEncoded:
        """The rows, each in a template that is drawn for it."""
        recipe = self.recipe
        chosen = assign(self.templates, self.task, len(rows), recipe.seed, training=training)
        worded = [self._render(self.templates[k], row) for k, row in zip(chosen, rows, strict=True)]
        return encode_text([(one.input, one.target) for one in worded], self.tokenizer, self.form)

    def _render(self, template: Template, row: Example) -> Rendered:
        recipe = self.recipe
        question = render(template, self.task, row, options=recipe.options)
        if not recipe.training_shots:
            return question
        shots = draw(row, self.pool, recipe.training_shots, recipe.seed)
        exemplars = [render(template, self.task, shot, options=recipe.options) for shot in shots]
        return with_shots(question, exemplars, self._tokens, min(BUDGET, self.form.max_input), recipe.training_shots)

    def _tokens(self, text: str) -> int:
        return len(self.tokenizer(text, verbose=False)["input_ids"])
