"""Recipes of soft prompt transfer, as values only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from multigraft.errors import UserError
from multigraft.library.predictors import PREDICTORS
from multigraft.methods.base import parse_method
from multigraft.mixing.schedule import Schedule, parse, schedule_record
from multigraft.settings import Record
from multigraft.strategies.answering import TEXT
from multigraft.strategies.comparison import Comparison, Group, RunRecipe, digest
from multigraft.strategies.expert_recipe import ExpertRecipe

MIXTURE = "mixture"  # a source that is no task, as `answering.TEXT` is
# The settings of the papers (arXiv 2104.08691, section 3; 2110.07904, section 2.2), but for the number of steps.
DEFAULTS: Mapping[str, Any] = {
    "strategy": "prompt_transfer",
    "method": {"name": "soft_prompt", "length": 100},
    "training": {
        "steps": 1000, "epochs": 10, "batch_size": 32, "optimizer": "adafactor", "module_learning_rate": 0.3,
        "head_learning_rate": 1e-3, "weight_decay": 1e-5, "decay": "constant", "warmup": 0.0, "clip": None,
        "part_positions": 8192,
    },
}  # fmt: skip
Use = Literal["best_of", "average", "mixture", "halving"]


class Transfer(Record):
    """Where a target's prompt starts: from one source for all targets, or as a predictor ranks the sources."""

    source: str | None = Field(
        None, description="a task; 'mixture': of all sources; 'text': their inputs without labels, as continued texts"
    )
    by: str | None = Field(None, description="predictor that ranks the sources")
    use: Use = Field(
        "best_of",
        description="best_of: a run from each of the k best; average: one from their weighted average; mixture: one "
        "from a prompt of the k and the target; halving: the k share the steps of one run, the worse half goes out",
    )
    k: PositiveInt | None = Field(1, description="sources of a ranking to use; null: all of them, by brute force")

    @model_validator(mode="after")
    def _one_way(self) -> Transfer:
        if (self.source is None) == (self.by is None):
            raise ValueError("give either 'source' or 'by'")
        if self.source is not None and (self.use, self.k) != ("best_of", 1):
            raise ValueError("'use' and 'k' are for a ranking, which 'by' gives")
        if self.by is not None:
            try:
                PREDICTORS.get(self.by)
            except UserError as error:
                raise ValueError(f"{error.what}; {error.fix}") from None
        return self

    def label(self) -> str:
        """In words."""
        if self.source is not None:
            return {MIXTURE: "from the mixture of all sources", TEXT: "from unlabelled text"}.get(
                self.source, f"from {self.source}"
            )
        assert self.by is not None
        by = self.by.replace("_", " ")
        if self.k is None and self.use == "best_of":
            return "from every source (brute force)"
        use = {
            "best_of": "best of top {}",
            "average": "average of top {}",
            "mixture": "mixture of top {}",
            "halving": "halving of top {}",
        }[self.use]
        return f"{use.format(self.k or 'all')} by {by}"


class PromptRecipe(ExpertRecipe):
    """A prompt for each target on a frozen backbone (arXiv 2110.07904), or what it is compared with."""

    strategy: Literal["prompt_transfer"] = "prompt_transfer"
    method: dict[str, Any] = Field("soft_prompt", validate_default=True, description="what is in front of the text")
    start: Literal["method", "frequent", "labels"] = Field(
        "method",
        description="what a prompt starts from that starts from no other: what the method says; tokens drawn from the "
        "5,000 most frequent of the task's training texts; or the words of its answers, and then such tokens",
    )
    transfer: Transfer | None = Field(None, description="where prompts start; null: from words, and no task")
    tune: Literal["prompt", "model"] = Field("prompt", description="model: tune a whole backbone for each target")
    multitask: bool = Field(False, description="where the model is tuned: on the mixture of the sources first")
    schedule: dict[str, Any] = Field(
        {"name": "proportional", "cap": 2**19}, validate_default=True, description="shares of tasks in a mixture"
    )

    equal: ClassVar[frozenset[str]] = RunRecipe.equal | {"targets", "sources"}

    @field_validator("schedule", mode="before")
    @classmethod
    def _schedule(cls, value: Any) -> dict[str, Any]:
        return schedule_record(value)

    @model_validator(mode="after")
    def _fits(self) -> PromptRecipe:
        if self.multitask and not self.tuned:
            raise ValueError("'multitask' is for a tuned backbone: say 'tune: model'")
        if self.transfer is not None and self.tuned:
            raise ValueError("'transfer' is for prompts on a frozen backbone: say 'tune: prompt'")
        if self.transfer is not None and self.method["name"] != "soft_prompt":
            raise ValueError(f"only a soft_prompt can start from another task's, not {self.method['name']}")
        if self.start != "method" and self.method["name"] != "soft_prompt":
            raise ValueError(f"only a soft_prompt can start from words of its task, not {self.method['name']}")
        return self

    @property
    def tuned(self) -> bool:
        return self.tune == "model"

    @property
    def group(self) -> Group:
        if self.tuned:
            return "shared" if self.multitask else "separate"
        return "prompt" if self.transfer is None else "transfer"

    @property
    def apart(self) -> bool:
        return self.transfer is None and not self.multitask

    @property
    def method_name(self) -> str | None:
        return None if self.tuned else str(self.method["name"])

    @property
    def schedule_name(self) -> str:
        mixed = self.multitask or (self.transfer is not None and MIXTURE in (self.transfer.source, self.transfer.use))
        return str(self.schedule["name"]) if mixed else ""

    def parsed_schedule(self) -> Schedule:
        """The schedule with its settings."""
        return parse(self.schedule, "schedule")

    def experts_key(self) -> str:
        """Name of the folder of trained prompts: recipes that only use them otherwise have the same."""
        mine = {"seed", "tasks", "targets", "sources", "transfer", "tune", "multitask", "bank_size", "strategy"}
        return digest(self.model_dump(mode="json", exclude=mine))

    def slug(self) -> str:
        if self.tuned:
            return "multitask-model" if self.multitask else "model"
        return self.method["name"] if self.transfer is None else f"transfer-{self.transfer.source or self.transfer.by}"

    def label(self) -> str:
        if self.tuned:
            return "multitask model tuning" if self.multitask else "model tuning"
        if self.transfer is not None:
            return self.transfer.label()
        method = parse_method(self.method)
        detail = method.describe()
        name = {"soft_prompt": "prompt tuning"}.get(method.name, method.name.replace("_", " "))
        parts = [f"{name} ({detail})" if detail else name]
        return ", ".join(parts + ([f"from {self.start}"] if self.start != "method" else []))


class ComparePrompts(PromptRecipe, Comparison):
    """Rows of prompt transfer."""

    row_type: ClassVar[type[RunRecipe]] = PromptRecipe
