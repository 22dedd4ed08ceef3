"""What a comparison asks of a way of sharing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from multigraft.errors import UserError
from multigraft.registry import Registry
from multigraft.strategies.comparison import Comparison, RunRecipe
from multigraft.strategies.results import HeldOut, TaskMap, TaskSummary
from multigraft.strategies.runs import RunResult
from multigraft.tasks.suite import Suite, load_suite
from multigraft.tasks.task import Task


class Strategy(ABC):
    """One way of sharing, in one folder; it keeps what its runs have in common. One subclass in one file each.

    Class attributes: `name` as in recipes, `recipe` of a run, `comparison` of several.
    """

    name: ClassVar[str]
    recipe: ClassVar[type[RunRecipe]]
    comparison: ClassVar[type[Comparison]]

    def __init__(self, root: Path, *, alone: bool = False) -> None:
        self.root = root
        self.alone = alone  # one run is all that the folder is for
        self._suites: dict[object, Suite] = {}

    def suite(self, recipe: RunRecipe) -> Suite:
        """The tasks of a recipe, read once. Raises UserError when they are not there."""
        key = recipe.suite, recipe.tasks
        if key not in self._suites:
            suite = load_suite(recipe.suite)
            self._suites[key] = suite.subset(recipe.tasks) if recipe.tasks is not None else suite
        return self._suites[key]

    @abstractmethod
    def check(self, recipe: Any) -> None:
        """Raises UserError when the recipe cannot be run, before anything is trained."""

    @abstractmethod
    def run(self, recipe: Any, folder: Path, *, quiet: bool) -> RunResult:
        """Train, score and keep what the recipe says, in `folder`; a run that is finished there is not repeated."""

    @abstractmethod
    def scored(self, recipe: Any) -> list[Task]:
        """The tasks that a recipe scores."""

    @abstractmethod
    def tasks(self, recipe: Any) -> tuple[TaskSummary, ...]:
        """The scored tasks, with their trivial baselines."""

    def write_model(self, recipe: Any, folder: Path, output: Path) -> None:
        """Write what a finished run in `folder` answers with as a model folder.

        Raises UserError where no model of its own was kept.
        """
        raise UserError(f"{recipe.label()!r} keeps no model of its own", fix="name another row with --row")

    def held_out(self, recipes: Sequence[Any]) -> tuple[HeldOut, ...]:
        """What the certificates of the runs say."""
        return ()

    def task_map(self, recipes: Sequence[Any]) -> TaskMap | None:
        """How alike the tasks are, where the runs tell."""
        return None


STRATEGIES: Registry[Strategy] = Registry(
    "strategy", "multigraft.strategies", "multigraft.strategies.strategy:Strategy"
)


def strategy_of(values: dict[str, Any], where: object) -> type[Strategy]:
    """The strategy that the values of a recipe name. Raises UserError for one that there is not."""
    return STRATEGIES.get(str(values.get("strategy", "multitask")), where)
