"""Ways of different strategies in one comparison: each row names its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from pydantic import Field, PositiveInt

from multigraft.errors import UserError
from multigraft.settings import build
from multigraft.strategies.comparison import Comparison, Group, RunRecipe, merged
from multigraft.strategies.results import HeldOut, TaskMap, TaskSummary
from multigraft.strategies.runs import RunResult
from multigraft.strategies.strategy import STRATEGIES, Strategy
from multigraft.tasks.task import Task

COMMON = ("suite", "tasks", "scored_examples", "score_on", "seed", "training", "examples")


class CompareSeveral(Comparison):
    """Rows of any strategy that score the same rows of the same tasks; what is not in `COMMON` each row says itself.

    Where a recipe of one run is asked for, the comparison stands for its first row.
    """

    strategy: Literal["several"] = "several"
    examples: PositiveInt | None = Field(None, description="at most this many training rows of each task")

    equal: ClassVar[frozenset[str]] = frozenset({"suite", "tasks", "scored_examples", "score_on", "seed", "examples"})

    def row(self, changes: Mapping[str, Any], where: object) -> RunRecipe:
        if "strategy" not in changes:
            fix = f"name one of {', '.join(name for name in STRATEGIES.names() if name != self.strategy)}"
            raise UserError("'strategy' is missing", where=where, fix=fix)
        base = {
            key: value for key, value in self.model_dump(mode="json").items() if key in COMMON and value is not None
        }
        return build(STRATEGIES.get(str(changes["strategy"]), where).recipe, merged(base, changes), where)

    @property
    def first(self) -> RunRecipe:
        """The recipe of the first row."""
        return cast(RunRecipe, self.resolved()[0][1])

    @property
    def group(self) -> Group:
        return self.first.group

    @property
    def backbone_name(self) -> str:
        return ", ".join(dict.fromkeys(recipe.backbone_name for _, recipe in self.resolved()))

    @property
    def tuned(self) -> bool:
        return self.first.tuned

    @property
    def method_name(self) -> str | None:
        return self.first.method_name

    @property
    def schedule_name(self) -> str:
        return self.first.schedule_name

    def slug(self) -> str:
        return self.first.slug()

    def label(self) -> str:
        return self.first.label()


class Several(Strategy):
    """Asks the strategy of each row."""

    name: ClassVar[str] = "several"
    recipe: ClassVar[type[RunRecipe]] = CompareSeveral
    comparison: ClassVar[type[Comparison]] = CompareSeveral

    def __init__(self, root: Path, *, alone: bool = False) -> None:
        super().__init__(root, alone=alone)
        self._ways: dict[str, Strategy] = {}
        self._first: RunRecipe | None = None  # of the rows that were checked

    def check(self, recipe: RunRecipe) -> None:
        if isinstance(recipe, Comparison):
            raise UserError("several ways are no single run", where="strategy", fix="run it with multigraft compare")
        way, first = self._way(recipe), self._first or recipe
        mine, others = ({task.name for task in self._way(one).scored(one)} for one in (recipe, first))
        if mine != others:
            what = f"{recipe.label()!r} and {first.label()!r} do not score the same tasks: {min(mine ^ others)!r}"
            raise UserError(what, where="rows", fix="name the tasks that all of them can answer in 'tasks'")
        self._first = first
        way.check(recipe)

    def run(self, recipe: RunRecipe, folder: Path, *, quiet: bool) -> RunResult:
        return self._way(recipe).run(recipe, folder, quiet=quiet)

    def write_model(self, recipe: RunRecipe, folder: Path, output: Path) -> None:
        self._way(recipe).write_model(recipe, folder, output)

    def scored(self, recipe: CompareSeveral) -> list[Task]:
        return self._way(recipe.first).scored(recipe.first)

    def tasks(self, recipe: CompareSeveral) -> tuple[TaskSummary, ...]:
        return self._way(recipe.first).tasks(recipe.first)

    def held_out(self, recipes: Sequence[RunRecipe]) -> tuple[HeldOut, ...]:
        return tuple(found for way, rows in self._grouped(recipes) for found in way.held_out(rows))

    def task_map(self, recipes: Sequence[RunRecipe]) -> TaskMap | None:
        """That of the first strategy which has one."""
        return next((found for way, rows in self._grouped(recipes) if (found := way.task_map(rows))), None)

    def _grouped(self, recipes: Sequence[RunRecipe]) -> Iterable[tuple[Strategy, list[RunRecipe]]]:
        names = dict.fromkeys(recipe.strategy for recipe in recipes)
        return [(self._ways[name], [recipe for recipe in recipes if recipe.strategy == name]) for name in names]

    def _way(self, recipe: RunRecipe) -> Strategy:
        if recipe.strategy not in self._ways:
            self._ways[recipe.strategy] = STRATEGIES.get(recipe.strategy)(self.root)
        return self._ways[recipe.strategy]
