"""The plain mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from multigraft.library.merging.base import Combination, Score


class Uniform(Combination):
    """`1/N sum_i tau_i`: the merge of the ELM paper, lambda_i = 1/N."""

    name: ClassVar[str] = "uniform"
    paper: ClassVar[str] = (
        "Jang et al. 2023, arXiv 2302.03202, merging of experts; Wortsman et al. 2022, arXiv 2203.05482"
    )
    idempotent: ClassVar[bool] = True

    def weigh(self, weights: Sequence[float] | None, count: int, score: Score | None) -> tuple[float, ...]:
        """1/N for each."""
        return (1 / count,) * count
