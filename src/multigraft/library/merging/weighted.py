"""The weighted mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from multigraft.library.merging.base import Combination, Score


class Weighted(Combination):
    """`sum_i w_i tau_i / sum_i w_i`: weights say shares, and are made to sum to 1."""

    name: ClassVar[str] = "weighted"
    paper: ClassVar[str] = "Jang et al. 2023, arXiv 2302.03202, merging of experts with weights lambda_i"
    needs: ClassVar[frozenset[str]] = frozenset({"weights"})
    idempotent: ClassVar[bool] = True

    def weigh(self, weights: Sequence[float] | None, count: int, score: Score | None) -> tuple[float, ...]:
        """The given weights, divided by their sum."""
        given = super().weigh(weights, count, score)
        largest = max(given)  # first, so that the sum cannot overflow
        shares = [weight / largest for weight in given]
        return tuple(share / sum(shares) for share in shares)
