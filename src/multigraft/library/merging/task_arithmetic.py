"""Task arithmetic: what was learned is added up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from multigraft.library.merging.base import Combination, Score


class TaskArithmetic(Combination):
    """`theta_base + lambda sum_i w_i tau_i`; a negative weight takes away what a model learned."""

    name: ClassVar[str] = "task_arithmetic"
    paper: ClassVar[str] = "Ilharco et al. 2022, arXiv 2212.04089, section 2"
    needs: ClassVar[frozenset[str]] = frozenset({"base"})
    takes: ClassVar[frozenset[str]] = frozenset({"weights"})
    signed: ClassVar[bool] = True

    scale: float = Field(0.4, description="lambda, of the sum of the task vectors; to be chosen on held-out data")

    def weigh(self, weights: Sequence[float] | None, count: int, score: Score | None) -> tuple[float, ...]:
        """lambda times the given weights, or lambda for each."""
        return tuple(self.scale * weight for weight in super().weigh(weights, count, score))
