"""Recipes of instruction tuning, as values only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from multigraft.evaluation.ranking import Norm
from multigraft.methods.base import method_record, parse_method
from multigraft.mixing.schedule import Schedule, parse, schedule_record
from multigraft.settings import Record
from multigraft.strategies.comparison import Comparison, Group, RunRecipe, digest
from multigraft.training.objective import Weighting

# What is asked of a model and how, which does not change the model.
ASKED = frozenset({"scored_examples", "dev_examples", "score_on", "score_templates", "norm", "shots"})
# What changes the model alone, and so nothing where none is trained.
TRAINED = frozenset(
    {"one_model", "train_clusters", "examples", "method", "schedule", "templates", "training_shots", "training"}
)


class TextBackboneSettings(Record):
    """The text-to-text model."""

    name: str = Field("pocket", description="hub id, folder, or an embedded name")
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


class InstructionRecipe(RunRecipe):
    """One model for each held-out cluster, tuned on what the cluster's certificate leaves (arXiv 2109.01652)."""

    strategy: Literal["instruction_tuning"] = "instruction_tuning"
    hold_out: tuple[str, ...] = Field((), description="clusters to test; without any, every task is trained on")
    one_model: bool = Field(False, description="one model that sees none of the clusters, not one for each of them")
    train_clusters: tuple[str, ...] | None = Field(
        None, min_length=1, description="of what may be trained on, only the tasks of these clusters"
    )
    unseen: tuple[str, ...] = Field((), description="tasks that are not trained on, and scored unless 'seen' is said")
    seen: bool = Field(False, description="where nothing is held out: score the tasks that are trained on")
    untuned: bool = Field(False, description="ask the backbone as it is; nothing is trained")
    examples: PositiveInt = Field(30_000, description="at most this many training rows of each task")
    dev_examples: int = Field(
        200,
        ge=0,
        description="rows to choose the best template on: of validation if another split is scored, else of train",
    )
    backbone: TextBackboneSettings = TextBackboneSettings()
    method: dict[str, Any] | None = Field(None, description="task module; null: the backbone alone is tuned")
    schedule: dict[str, Any] = Field(
        {"name": "proportional", "cap": 3000}, validate_default=True, description="which task comes next"
    )
    templates: str | PositiveInt = Field(
        "all", description="wordings to train with: all, so many of each task, or the name of a built-in one"
    )
    score_templates: str = Field("all", description="wordings to score in: all, or the name of a built-in one")
    options: bool = Field(True, description="are options listed in the input, in training and in scoring")
    norm: Norm = Field("sum", description="what options are ranked by: sum, tokens, bytes, unconditional")
    training_shots: int = Field(0, ge=0, description="solved examples before each training example")
    shots: int = Field(0, ge=0, description="solved examples before each scored question")
    text: TextSettings = TextSettings()

    equal: ClassVar[frozenset[str]] = RunRecipe.equal | {"hold_out", "unseen"}

    @field_validator("method", mode="before")
    @classmethod
    def _method(cls, value: Any) -> dict[str, Any] | None:
        return None if value is None else method_record(parse_method(value))

    @field_validator("schedule", mode="before")
    @classmethod
    def _schedule(cls, value: Any) -> dict[str, Any]:
        return schedule_record(value)

    @model_validator(mode="after")
    def _seen_or_not(self) -> InstructionRecipe:
        if (self.seen or self.unseen) and self.hold_out:
            raise ValueError("'seen' and 'unseen' are for recipes without 'hold_out'")
        return self

    @field_validator("hold_out")
    @classmethod
    def _distinct(cls, clusters: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(clusters)) != len(clusters):
            raise ValueError("a cluster is listed twice")
        return clusters

    @property
    def group(self) -> Group:
        return "untuned" if self.untuned else "instructions"

    @property
    def backbone_name(self) -> str:
        return self.backbone.name

    @property
    def tuned(self) -> bool:
        return self.backbone.tuned and not self.untuned

    @property
    def method_name(self) -> str | None:
        return None if self.method is None or self.untuned else str(self.method["name"])

    @property
    def schedule_name(self) -> str:
        return "" if self.untuned else str(self.schedule["name"])

    @property
    def seeded(self) -> bool:
        return not self.untuned or not self.backbone.pretrained

    def parsed_schedule(self) -> Schedule:
        """The schedule with its settings."""
        return parse(self.schedule, "schedule")

    def groups(self) -> list[tuple[str, ...]]:
        """The clusters that each model is not to see."""
        return [self.hold_out] if self.one_model or not self.hold_out else [(cluster,) for cluster in self.hold_out]

    def held_out_clusters(self) -> tuple[str, ...]:
        return self.hold_out

    def without(self) -> frozenset[str]:
        return frozenset({"seed"}) | (TRAINED if self.untuned else frozenset())

    def as_untuned(self) -> InstructionRecipe:
        """The same questions to the backbone as it is; settings of training are the defaults, as they do nothing."""
        backbone = self.backbone.model_copy(update={"tuned": True})
        text = self.text.model_copy(update={"packing": None, "weighting": "token"})
        return self.model_copy(update={"untuned": True, "backbone": backbone, "text": text})

    def model_key(self) -> str:
        """Name of the folder of the trained models: recipes that only ask otherwise have the same."""
        values = self.model_dump(mode="json", exclude={"seed", "hold_out", "one_model", "seen", *ASKED})
        if self.tasks is not None:  # what is trained on is all that matters
            values |= {"tasks": [name for name in self.tasks if name not in self.unseen], "unseen": []}
        return digest(values)

    def series(self) -> str | None:
        return None if self.untuned else digest(self.model_dump(mode="json", exclude={"seed", "train_clusters"}))

    def slug(self) -> str:
        if self.untuned:
            return "untuned"
        parts = ["instructions", *([self.method["name"]] if self.method else [])]
        return "-".join([*parts, *([f"{len(self.train_clusters)}-clusters"] if self.train_clusters else [])])

    def label(self) -> str:
        parts = ["untuned"] if self.untuned else ["instruction tuning", *self._trained()]
        if not self.options:
            parts.append("no options")
        if self.score_templates != "all":
            parts.append(f"asked with {self.score_templates}")
        if self.shots:
            parts.append(_count(self.shots, "shot"))
        return ", ".join([*parts, *([self.norm] if self.norm != "sum" else [])])

    def _trained(self) -> list[str]:
        parts = []
        if self.method is not None:
            method = parse_method(self.method)
            parts.append(f"{method.name} ({detail})" if (detail := method.describe()) else method.name)
        if self.train_clusters is not None:
            parts.append(_count(len(self.train_clusters), "cluster"))
        if self.templates != "all":
            parts.append(_count(self.templates, "template") if isinstance(self.templates, int) else self.templates)
        return parts + ([_count(self.training_shots, "training shot")] if self.training_shots else [])


class CompareInstructions(InstructionRecipe, Comparison):
    """Rows of instruction tuning. The untuned backbone is always beside them, asked in the same ways."""

    hold_out: tuple[str, ...] = Field(min_length=1, description="clusters to test")

    row_type: ClassVar[type[RunRecipe]] = InstructionRecipe

    def _beside(self, rows: Sequence[Any]) -> list[tuple[str, Any]]:
        known = {row.key() for row in rows}
        plain = {one.key(): one for one in (row.as_untuned() for row in rows)}
        return [(one.label(), one) for key, one in plain.items() if key not in known]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
