"""What recipes of independent experts on one backbone have in common, as values only."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from pydantic import Field, PositiveInt, field_validator, model_validator

from multigraft.errors import UserError
from multigraft.evaluation.ranking import Norm
from multigraft.methods.base import method_record, parse_method
from multigraft.methods.heads import Pooling
from multigraft.settings import Record, build
from multigraft.strategies.comparison import RunRecipe
from multigraft.strategies.instruction_recipe import TextSettings
from multigraft.training.settings import TrainingSettings


class AnyBackboneSettings(Record):
    """An encoder, whose tasks get heads, or a text-to-text model, whose tasks are said in words."""

    name: str = Field("minilm", description="hub id, folder (of a trained text model too), or an embedded name")
    pretrained: bool = Field(True, description="false: random weights, as a control")
    pooling: Pooling = Field("first", description="what an encoder's heads read: the first token, or the mean")


class ExpertRecipe(RunRecipe):
    """Tasks, how they are put to a backbone, and how experts for them are trained."""

    targets: tuple[str, ...] | None = Field(None, min_length=1, description="tasks to score; null: all")
    sources: tuple[str, ...] | None = Field(
        None, min_length=1, description="tasks that have experts of their own, which others learn from; null: all"
    )
    backbone: AnyBackboneSettings = AnyBackboneSettings()
    method: dict[str, Any] = Field("lora", validate_default=True, description="what an expert is")
    examples: PositiveInt | None = Field(None, description="at most this many training rows of each task")
    dev_examples: int = Field(
        200, ge=1, description="training rows of each task, at most a fifth, kept to choose by and never trained on"
    )
    templates: str = Field("all", description="for a text-to-text model: all wordings of a task, or the name of one")
    options: bool = Field(True, description="are options listed in the input")
    norm: Norm = Field("sum", description="what options are ranked by: sum, tokens, bytes, unconditional")
    text: TextSettings = TextSettings()
    bank_size: PositiveInt | None = Field(
        None, description="experts that are trained at once; null: as many as memory allows"
    )
    training: TrainingSettings
    training_of: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="settings of training in which the experts of a task differ, by its name: "
        "`{rte: {module_learning_rate: 1.0e-3, passes: 20}}`",
    )

    @field_validator("method", mode="before")
    @classmethod
    def _method(cls, value: Any) -> dict[str, Any]:
        return method_record(parse_method(value))

    @model_validator(mode="after")
    def _own_training(self) -> ExpertRecipe:
        for task in self.training_of:
            try:
                self.training_for(task)
            except UserError as error:
                raise ValueError(f"training_of.{task}: {error.what}") from None
        return self

    def training_for(self, task: str) -> TrainingSettings:
        """How the experts of a task are trained. Raises UserError for settings that do not fit."""
        own = self.training_of.get(task, {})
        length = {"steps": None, "passes": None} if {"steps", "passes"} & set(own) else {}
        return build(TrainingSettings, {**self.training.model_dump(), **length, **own}, f"training_of.{task}")

    @abstractmethod
    def experts_key(self) -> str:
        """Name of the folder of trained experts: recipes that only use them otherwise have the same."""

    @property
    def backbone_name(self) -> str:
        return self.backbone.name

    @property
    def training_shots(self) -> int:
        """Solved examples before a training example: none."""
        return 0
