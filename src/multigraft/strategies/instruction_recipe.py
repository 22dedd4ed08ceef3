"""Recipes of instruction tuning, as values only."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field, PositiveInt, field_validator

from multigraft.evaluation.ranking import Norm
from multigraft.methods.base import method_record, parse_method
from multigraft.mixing.schedule import Schedule, parse
from multigraft.settings import Record
from multigraft.training.objective import Weighting
from multigraft.training.settings import TrainingSettings


class TextBackboneSettings(Record):
    """The text-to-text model."""

    name: str = Field(description="hub id or folder")
    tuned: bool = Field(True, description="train it, with the modules if there are any, or keep it frozen under them")
    pretrained: bool = Field(True, description="false: random weights, as a control")


class TextSettings(Record):
    """Lengths and batches of texts."""

    max_input: int = Field(256, gt=0, description="tokens of an input; longer ones are cut")
    max_target: int = Field(64, gt=1, description="tokens of a target with its end token; longer ones are cut")
    packing: int | None = Field(
        None, gt=1, description="tokens in a row of the batch that several examples share; null: an example a row"
    )
    weighting: Weighting = Field("token", description="what counts the same in a step: each target token, or example")


class InstructionRecipe(Record):
    """One model for each held-out cluster, tuned on what the cluster's certificate leaves (arXiv 2109.01652)."""

    suite: str = Field(description="embedded name or folder")
    tasks: tuple[str, ...] | None = Field(None, min_length=1, description="only these tasks of the suite")
    hold_out: tuple[str, ...] = Field(min_length=1, description="clusters to test, each by a model that never saw it")
    train_clusters: tuple[str, ...] | None = Field(
        None, min_length=1, description="of what may be trained on, only the tasks of these clusters"
    )
    examples: PositiveInt = Field(30_000, description="at most this many training rows of each task")
    scored_examples: PositiveInt | None = Field(None, description="at most this many rows of each scored split")
    score_on: str = Field("validation", description="split of the scores")
    backbone: TextBackboneSettings
    method: dict[str, Any] | None = Field(None, description="task module; null: the backbone alone is tuned")
    schedule: dict[str, Any] = Field(
        {"name": "proportional", "cap": 3000}, validate_default=True, description="which task comes next"
    )
    templates: str | PositiveInt = Field(
        "all", description="wordings to train with: all, so many of each task, or the name of a built-in one"
    )
    score_templates: str = Field("all", description="wordings to score in: all, or the name of a built-in one")
    options: bool = Field(True, description="list the options in the input")
    norm: Norm = Field("sum", description="what options are ranked by")
    shots: int = Field(0, ge=0, description="solved examples before each scored question")
    text: TextSettings = TextSettings()
    training: TrainingSettings
    seed: int = Field(0, ge=0)

    @field_validator("method", mode="before")
    @classmethod
    def _method(cls, value: Any) -> dict[str, Any] | None:
        return None if value is None else method_record(parse_method(value))

    @field_validator("schedule", mode="before")
    @classmethod
    def _schedule(cls, value: Any) -> dict[str, Any]:
        schedule = parse(value, "schedule")
        return {"name": schedule.name, **json.loads(schedule.model_dump_json())}

    def parsed_schedule(self) -> Schedule:
        """The schedule with its settings."""
        return parse(self.schedule, "schedule")
