"""Recipes: what to train on what, as values only."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator

from multigraft.errors import UserError
from multigraft.methods.base import METHODS, method_record, parse_method
from multigraft.methods.heads import PoolerKind, Pooling
from multigraft.mixing.schedule import Schedule, parse
from multigraft.settings import Record, build, read_yaml
from multigraft.training.settings import TrainingSettings


class BackboneSettings(Record):
    """The shared model."""

    name: str = Field("minilm", description="hub id, folder, or an embedded name")
    tuned: bool = Field(True, description="train it jointly with the modules, or keep it frozen")
    pretrained: bool = Field(True, description="false: random weights, as a control")
    pooling: Pooling = Field("first", description="what the head reads: the first token, or the mean")
    pooler: PoolerKind | None = Field(
        None, description="the dense layer before the head; default: shared if tuned, else per_task"
    )

    @property
    def pooler_kind(self) -> PoolerKind:
        """The pooler to use."""
        return self.pooler or ("shared" if self.tuned else "per_task")


class Recipe(Record):
    """One way of sharing on one suite: what `multigraft train` runs."""

    suite: str = Field(description="embedded name or folder")
    tasks: tuple[str, ...] | None = Field(None, min_length=1, description="only these tasks of the suite")
    examples: PositiveInt | dict[str, PositiveInt] | None = Field(
        None, description="at most this many training rows of each task, or of each task by name"
    )
    scored_examples: int | None = Field(None, gt=0, description="at most this many rows of each scored split")
    score_on: str = Field("validation", description="split of the final scores")
    backbone: BackboneSettings = BackboneSettings()
    separate: bool = Field(
        False,
        description="one model per task instead of one for all; each draws the rows that the schedule gives its task",
    )
    method: dict[str, Any] = Field("heads_only", validate_default=True, description="task modules")
    schedule: dict[str, Any] = Field("annealed", validate_default=True, description="which task comes next")
    training: TrainingSettings
    seed: int = Field(0, ge=0)

    @field_validator("method", mode="before")
    @classmethod
    def _method(cls, value: Any) -> dict[str, Any]:
        return method_record(parse_method(value))

    @field_validator("schedule", mode="before")
    @classmethod
    def _schedule(cls, value: Any) -> dict[str, Any]:
        schedule = parse(value, "schedule")
        return {"name": schedule.name, **json.loads(schedule.model_dump_json())}

    @property
    def strategy(self) -> Literal["separate", "shared", "module"]:
        """Which way of sharing the recipe is."""
        if self.separate:
            return "separate"
        return "shared" if self.method["name"] == "heads_only" else "module"

    def cap(self, task: str) -> int | None:
        """At most this many training rows of a task."""
        return self.examples.get(task) if isinstance(self.examples, dict) else self.examples

    def parsed_schedule(self) -> Schedule:
        """The schedule with its settings."""
        return parse(self.schedule, "schedule")

    def key(self) -> str:
        """Name of the run's folder: readable, and different for different settings; the seed is left out."""
        record = self.model_dump(mode="json", exclude={"seed"})
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:10]
        parts = ["separate"] if self.separate else []
        parts += [self.method["name"], self.schedule["name"], *([] if self.backbone.tuned else ["frozen"])]
        return "-".join([*parts, digest])

    def label(self) -> str:
        """A name for tables, which says what differs from the defaults."""
        settings = {key: value for key, value in self.method.items() if key != "name"}
        method = METHODS.get(self.method["name"])(**settings)
        detail = method.describe()
        name = f"separate {method.name}" if self.separate else method.name
        name = {"heads_only": "one shared encoder", "separate heads_only": "separate models"}.get(name, name)
        parts = [f"{name} ({detail})" if detail else name, self.schedule["name"]]
        return ", ".join(parts + ([] if self.backbone.tuned else ["frozen"]))


EQUAL = frozenset({"suite", "tasks", "scored_examples", "score_on", "seed"})  # what rows must share to be compared


class CompareRecipe(Recipe):
    """Several ways of sharing on equal terms: what `multigraft compare` runs.

    Each row changes some values of the recipe, as in `{method: pal, training: {module_learning_rate: 1e-3}}`,
    and may have a `label`.
    """

    title: str = "Comparison"
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    rows: tuple[dict[str, Any], ...] = Field(min_length=1, description="what each row changes")

    def resolved(self, where: object = "recipe") -> list[tuple[str, Recipe]]:
        """Label and recipe of each row.

        Raises UserError for a bad row, one that is not answering the same questions, and two that are the same.
        """
        base = self.model_dump(mode="json", exclude={"title", "seeds", "rows"})
        found: dict[str, tuple[str, Recipe]] = {}
        for number, row in enumerate(self.rows):
            changes = {key: value for key, value in row.items() if key != "label"}
            place = f"{where}: rows.{number}"
            for key in EQUAL.intersection(changes):
                raise UserError(f"{key!r} is the same for all rows", where=place, fix="move it out of 'rows'")
            recipe = build(Recipe, merged(base, changes), place)
            if recipe.key() in found:
                raise UserError(f"the same as row {found[recipe.key()][0]!r}", where=place, fix="remove one of the two")
            found[recipe.key()] = (str(row.get("label") or recipe.label()), recipe)
        return list(found.values())


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
