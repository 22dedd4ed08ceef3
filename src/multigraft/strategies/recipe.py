"""Recipes of multitask learning: what to train on what, as values only."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt, field_validator

from multigraft.methods.base import METHODS, method_record, parse_method
from multigraft.methods.heads import PoolerKind, Pooling
from multigraft.mixing.schedule import Schedule, parse, schedule_record
from multigraft.settings import Record
from multigraft.strategies.comparison import Comparison, Group, RunRecipe


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


class Recipe(RunRecipe):
    """One way of sharing an encoder on one suite (arXiv 1902.02671)."""

    strategy: Literal["multitask"] = "multitask"
    examples: PositiveInt | dict[str, PositiveInt] | None = Field(
        None, description="at most this many training rows of each task, or of each task by name"
    )
    backbone: BackboneSettings = BackboneSettings()
    separate: bool = Field(
        False,
        description="one model per task instead of one for all; each draws the rows that the schedule gives its task",
    )
    method: dict[str, Any] = Field("heads_only", validate_default=True, description="task modules")
    schedule: dict[str, Any] = Field("annealed", validate_default=True, description="which task comes next")

    @field_validator("method", mode="before")
    @classmethod
    def _method(cls, value: Any) -> dict[str, Any]:
        return method_record(parse_method(value))

    @field_validator("schedule", mode="before")
    @classmethod
    def _schedule(cls, value: Any) -> dict[str, Any]:
        return schedule_record(value)

    @property
    def group(self) -> Group:
        if self.separate:
            return "separate"
        return "shared" if self.method["name"] == "heads_only" else "module"

    @property
    def apart(self) -> bool:
        return self.separate

    @property
    def backbone_name(self) -> str:
        return self.backbone.name

    @property
    def tuned(self) -> bool:
        return self.backbone.tuned

    @property
    def method_name(self) -> str | None:
        return self.method["name"] if self.group == "module" else None

    @property
    def schedule_name(self) -> str:
        return "" if self.separate else str(self.schedule["name"])

    def cap(self, task: str) -> int | None:
        """At most this many training rows of a task."""
        return self.examples.get(task) if isinstance(self.examples, dict) else self.examples

    def parsed_schedule(self) -> Schedule:
        """The schedule with its settings."""
        return parse(self.schedule, "schedule")

    def slug(self) -> str:
        parts = ["separate"] if self.separate else []
        return "-".join(
            [*parts, self.method["name"], self.schedule["name"], *([] if self.backbone.tuned else ["frozen"])]
        )

    def label(self) -> str:
        settings = {key: value for key, value in self.method.items() if key != "name"}
        method = METHODS.get(self.method["name"])(**settings)
        detail = method.describe()
        name = f"separate {method.name}" if self.separate else method.name
        name = {"heads_only": "one shared encoder", "separate heads_only": "separate models"}.get(name, name)
        parts = [f"{name} ({detail})" if detail else name, self.schedule["name"]]
        return ", ".join(parts + ([] if self.backbone.tuned else ["frozen"]))


class CompareRecipe(Recipe, Comparison):
    """Rows of multitask learning."""

    row_type: ClassVar[type[RunRecipe]] = Recipe
