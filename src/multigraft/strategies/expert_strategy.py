"""What strategies of experts on one backbone have in common: targets, sources, and where experts are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from multigraft.errors import UserError, unknown
from multigraft.strategies.answering import in_words
from multigraft.strategies.expert_recipe import ExpertRecipe
from multigraft.strategies.record import summary
from multigraft.strategies.results import TaskSummary
from multigraft.strategies.strategy import Strategy
from multigraft.tasks.task import Task


class ExpertStrategy(Strategy):
    """Targets are scored; sources have experts of their own. A task may be both."""

    def targets(self, recipe: ExpertRecipe) -> list[str]:
        """Tasks to score. Raises UserError for an unknown one."""
        return self._named(recipe, recipe.targets, "targets")

    def sources(self, recipe: ExpertRecipe) -> list[str]:
        """Tasks that have experts. Raises UserError for an unknown one."""
        return self._named(recipe, recipe.sources, "sources")

    def place(self, recipe: ExpertRecipe) -> Path:
        """Where the experts of a recipe and seed are kept."""
        return self.root / "experts" / recipe.experts_key() / f"seed-{recipe.seed}"

    def scored(self, recipe: ExpertRecipe) -> list[Task]:
        return [self.suite(recipe).tasks[name] for name in self.targets(recipe)]

    def tasks(self, recipe: ExpertRecipe) -> tuple[TaskSummary, ...]:
        limit = recipe.scored_examples
        return tuple(summary(task, recipe.examples, recipe.score_on, limit) for task in self.scored(recipe))

    def _named(self, recipe: ExpertRecipe, names: Sequence[str] | None, where: str) -> list[str]:
        tasks = self.suite(recipe).tasks
        for place, given in ((where, names or ()), ("training_of", recipe.training_of)):
            for name in given:
                if name not in tasks:
                    raise unknown("task", name, tasks, where=place)
        usable = [name for name, task in tasks.items() if {"train", recipe.score_on} <= set(task.split_names())]
        if names is None and not in_words(recipe):
            usable = [name for name in usable if tasks[name].output.kind != "text"]
        chosen = usable if names is None else list(names)
        if not chosen:
            raise UserError("no task has training rows and scored ones", where=where)
        return chosen
