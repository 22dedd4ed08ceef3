"""Recipes of one run, and of several runs that are compared on equal terms."""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from multigraft.errors import UserError
from multigraft.settings import Record, build, read_yaml
from multigraft.training.settings import TrainingSettings

Group = Literal["separate", "shared", "module", "instructions", "untuned", "prompt", "transfer", "expert"]
ALONE = frozenset({"title", "seeds", "rows"})  # fields that a comparison has and its rows have not


class RunRecipe(Record, ABC):
    """What every way of sharing needs to know; each strategy adds its own settings."""

    strategy: str
    suite: str = Field(description="embedded name or folder")
    tasks: tuple[str, ...] | None = Field(None, min_length=1, description="only these tasks of the suite")
    scored_examples: int | None = Field(None, gt=0, description="at most this many rows of each scored split")
    score_on: str = Field("validation", description="split of the final scores")
    training: TrainingSettings
    seed: int = Field(0, ge=0)

    # What rows must share to be compared.
    equal: ClassVar[frozenset[str]] = frozenset({"strategy", "suite", "tasks", "scored_examples", "score_on", "seed"})

    @property
    @abstractmethod
    def group(self) -> Group:
        """Which way of sharing the recipe is."""

    @property
    @abstractmethod
    def backbone_name(self) -> str:
        """The shared model."""

    @property
    @abstractmethod
    def tuned(self) -> bool:
        """Is the backbone trained?"""

    @property
    def apart(self) -> bool:
        """Has each task only what its own rows taught?"""
        return False

    @property
    def bound(self) -> bool:
        """Does it look at the scores to choose, and is no way to answer?"""
        return False

    @property
    @abstractmethod
    def method_name(self) -> str | None:
        """The task module; None without one."""

    @property
    @abstractmethod
    def schedule_name(self) -> str:
        """The schedule; empty where nothing is drawn from a mixture."""

    @abstractmethod
    def label(self) -> str:
        """A name for tables, which says what differs from the defaults."""

    @abstractmethod
    def slug(self) -> str:
        """A short name for folders, which need not tell recipes apart."""

    @property
    def seeded(self) -> bool:
        """Does another seed give another outcome?"""
        return True

    def held_out_clusters(self) -> tuple[str, ...]:
        """Clusters whose tasks are scored unseen."""
        return ()

    def series(self) -> str | None:
        """The same for recipes that differ in the clusters they are trained on only; None where that has no meaning."""
        return None

    def without(self) -> frozenset[str]:
        """Fields that do not change what comes out."""
        return frozenset({"seed"})

    def key(self) -> str:
        """Name of the run's folder: readable, and different for different settings; the seed is left out."""
        return f"{self.slug()}-{digest(self.model_dump(mode='json', exclude=set(self.without())))}"


def on_backbones(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The values of a comparison with each of its rows on each of the backbones."""
    rows = [merged(row, {"backbone": {"name": name}}) for name in names for row in values.get("rows", ())]
    return {**values, "rows": rows}


def digest(record: object) -> str:
    """Ten letters that stand for a record of JSON values."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:10]


class Comparison(RunRecipe, ABC):
    """Several ways of sharing on equal terms: what `multigraft compare` runs.

    Each row changes some values of the recipe, as in `{method: pal, training: {module_learning_rate: 1e-3}}`,
    and may have a `label`.
    """

    title: str = "Comparison"
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    rows: tuple[dict[str, Any], ...] = Field(min_length=1, description="what each row changes")

    row_type: ClassVar[type[RunRecipe]]

    def resolved(self, where: object = "recipe") -> list[tuple[str, Any]]:
        """Label and recipe of each row.

        Raises UserError for a bad row, one that is not answering the same questions, and two that are the same.
        """
        found: dict[str, tuple[str, RunRecipe]] = {}
        for number, row in enumerate(self.rows):
            changes = {key: value for key, value in row.items() if key != "label"}
            place = f"{where}: rows.{number}"
            for key in self.equal.intersection(changes):
                raise UserError(f"{key!r} is the same for all rows", where=place, fix="move it out of 'rows'")
            recipe = self.row(changes, place)
            if recipe.key() in found:
                raise UserError(f"the same as row {found[recipe.key()][0]!r}", where=place, fix="remove one of the two")
            found[recipe.key()] = (str(row.get("label") or recipe.label()), recipe)
        return self._told_apart([*self._beside([recipe for _, recipe in found.values()]), *found.values()])

    def row(self, changes: Mapping[str, Any], where: object) -> RunRecipe:
        """The recipe of a row. Raises UserError for values that it has not."""
        return build(self.row_type, merged(self.model_dump(mode="json", exclude=set(ALONE)), changes), where)

    def _beside(self, rows: Sequence[Any]) -> list[tuple[str, Any]]:
        """Rows that stand beside those of the recipe in any case."""
        return []

    @staticmethod
    def _told_apart(rows: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Labels with the backbone's name where there are several."""
        if len({recipe.backbone_name for _, recipe in rows}) == 1:
            return rows
        return [(f"{label}, {Path(recipe.backbone_name).name}", recipe) for label, recipe in rows]


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes`: groups of settings key by key; a method or schedule as a whole."""
    result = copy.deepcopy(dict(base))
    for key, value in changes.items():
        inner = result.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping) and key not in ("method", "schedule"):
            result[key] = merged(inner, value)
        else:
            result[key] = value
    # A run has one length: a row that states it in steps takes the place of passes, and the other way round.
    for one, other in (("steps", "passes"), ("passes", "steps")):
        if changes.get(one) is not None and other not in changes and other in result:
            result[other] = None
    return result


def read_recipe(path: Path) -> dict[str, Any]:
    """The values of a recipe file. Raises UserError when it is missing or not YAML with named values."""
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise UserError("expected named values, as in 'suite: starter'", where=path)
    return data
