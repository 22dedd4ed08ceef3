"""Recipes of independent experts, of which one or several answer for a target, as values only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from multigraft.errors import UserError
from multigraft.library.retrieval.selectors import SELECTORS
from multigraft.methods.base import parse_method
from multigraft.strategies.comparison import Comparison, Group, RunRecipe, digest
from multigraft.strategies.expert_recipe import ExpertRecipe

# Of arXiv 2302.03202 and its released code: 5 passes over at most 50,000 rows; but for the method and its rate.
DEFAULTS: Mapping[str, Any] = {
    "strategy": "expert_retrieval",
    "method": {"name": "lora"},
    "examples": 50_000,
    "training": {
        "passes": 5, "epochs": 5, "batch_size": 32, "module_learning_rate": 5e-4, "decay": "linear", "warmup": 0.06,
        "part_positions": 8192,
    },
}  # fmt: skip
# Rates that other methods are trained with: of BERT's paper (arXiv 1810.04805, appendix A.3), and of soft prompts'
# (arXiv 2104.08691, section 3).
_OTHER_TRAINING: Mapping[str, Mapping[str, Any]] = {
    "full": {"module_learning_rate": 5e-5, "head_learning_rate": 5e-4},
    "soft_prompt": {
        "optimizer": "adafactor", "module_learning_rate": 0.3, "head_learning_rate": 1e-3, "weight_decay": 1e-5,
        "decay": "constant", "warmup": 0.0, "clip": None,
    },
}  # fmt: skip
LEAST_CONFIDENCE = 0.5
LeaveOut = Literal["task", "cluster", "nothing"]
Use = Literal["own", "select", "mixture", "per_input", "merge", "oracle", "multitask", "backbone"]
_WORDS = {"own": "own experts", "oracle": "oracle", "multitask": "multitask expert", "backbone": "backbone alone"}


def defaults_for(method: str | None) -> dict[str, Any]:
    """`DEFAULTS` with the rates of a method, by default their own."""
    return {**DEFAULTS, "training": DEFAULTS["training"] | _OTHER_TRAINING.get(method or "", {})}


class RetrievalRecipe(ExpertRecipe):
    """Experts of the source tasks on a frozen backbone, and who answers for a target (arXiv 2302.03202)."""

    strategy: Literal["expert_retrieval"] = "expert_retrieval"
    per: Literal["task", "template"] = Field(
        "task", description="an expert for each task, or for each wording of each task that asks for its answer"
    )
    leave_out: LeaveOut = Field(
        "task", description="experts that a target may not use: those of its task, of its clusters, or nothing"
    )
    use: Use = Field(
        "own",
        description="who answers for a target. own: its own expert; select: the one that ranks first; mixture: the k "
        "first, by the mean of their probabilities; per_input: for each row the k whose training texts are nearest, "
        "by the weighted mean of their probabilities; merge: the k first merged into one, or all; oracle: the best, "
        "chosen on half of the scored rows for the other half; multitask: one expert for all sources; backbone: none",
    )
    by: str | None = Field(None, description="selector that ranks the experts")
    k: PositiveInt | None = Field(1, description="experts of a ranking to use; null: all")
    abstain: Literal["backbone", "multitask"] | None = Field(
        None, description="who answers for a target instead of a selected or merged expert without confidence"
    )
    least_confidence: float = Field(
        LEAST_CONFIDENCE,
        ge=0,
        le=1,
        description="share of a target's few labelled rows that it must make more likely",
    )

    equal: ClassVar[frozenset[str]] = RunRecipe.equal | {"targets", "sources", "leave_out"}

    @model_validator(mode="after")
    def _one_way(self) -> RetrievalRecipe:
        if self.by is not None:
            try:
                SELECTORS.get(self.by)
            except UserError as error:
                raise ValueError(f"{error.what}; {error.fix}") from None
        ranked = self.use in ("select", "mixture") or (self.use == "merge" and self.k is not None)
        if ranked and self.by is None:
            raise ValueError(f"{self.use!r} needs a ranking: name a selector with 'by'")
        if self.by is not None and self.use not in ("select", "mixture", "merge"):
            raise ValueError(f"'by' is for select, mixture and merge, not for {self.use!r}")
        if self.k != 1 and self.use not in ("mixture", "per_input", "merge"):
            raise ValueError("'k' is for mixture, per_input and merge")
        if self.abstain is not None and self.use not in ("select", "merge"):
            raise ValueError("'abstain' is for select and merge")
        return self

    @property
    def tuned(self) -> bool:
        return False

    @property
    def group(self) -> Group:
        return "untuned" if self.use == "backbone" else "shared" if self.use == "multitask" else "expert"

    @property
    def apart(self) -> bool:
        return self.use == "own"

    @property
    def bound(self) -> bool:
        return self.use == "oracle"

    @property
    def method_name(self) -> str | None:
        return None if self.use == "backbone" else str(self.method["name"])

    @property
    def schedule_name(self) -> str:
        return ""

    @property
    def seeded(self) -> bool:
        return self.use != "backbone" or not self.backbone.pretrained

    def experts_key(self) -> str:
        """Name of the folder of trained experts: recipes that only use them otherwise have the same."""
        mine = {"seed", "tasks", "targets", "sources", "leave_out", "use", "by", "k", "abstain", "least_confidence",
                "bank_size", "strategy"}  # fmt: skip
        return digest(self.model_dump(mode="json", exclude=mine))

    def slug(self) -> str:
        return "-".join(part for part in (self.use, self.by, self.abstain and f"or-{self.abstain}") if part)

    def label(self) -> str:
        return self._label() if self.abstain is None else f"{self._label()}, or {_WORDS[self.abstain]}"

    def _label(self) -> str:
        method = parse_method(self.method)
        detail = method.describe()
        kind = f"{method.name} ({detail})" if detail else method.name
        if self.use in _WORDS:
            return _WORDS[self.use] if self.use == "backbone" else f"{_WORDS[self.use]}, {kind}"
        by = (self.by or "").replace("_", " ")
        if self.use == "per_input":
            return f"each input by its {self.k or 'all'} nearest experts"
        if self.use == "select":
            return f"selected by {by}"
        count = "all" if self.k is None else f"the {self.k} first by {by}"
        return f"mixture of {count}" if self.use == "mixture" else f"merge of {count}"


class CompareRetrieval(RetrievalRecipe, Comparison):
    """Rows of expert retrieval."""

    row_type: ClassVar[type[RunRecipe]] = RetrievalRecipe
