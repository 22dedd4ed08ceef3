"""Spherical interpolation between two models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from multigraft.library.merging.base import Combination, Score

_PARALLEL = 1e-6  # sine of an angle below which an arc is a line


class Slerp(Combination):
    """`sin((1 - t) Omega) / sin Omega a + sin(t Omega) / sin Omega b`, tensor by tensor; Omega is the angle of a and b.

    Linear interpolation where the angle is 0 or half a turn, or a tensor is all zeros.
    """

    name: ClassVar[str] = "slerp"
    paper: ClassVar[str] = "Shoemake 1985, Animating rotation with quaternion curves, section 3.3"
    exactly: ClassVar[int | None] = 2
    symmetric: ClassVar[bool] = False
    idempotent: ClassVar[bool] = True

    t: float = Field(0.5, ge=0, le=1, description="share of the way from the first model to the second")

    def weigh(self, weights: Sequence[float] | None, count: int, score: Score | None) -> tuple[float, ...]:
        """1 - t and t."""
        return 1 - self.t, self.t

    def coefficients(self, weights: tuple[float, ...], products: Callable[[], Tensor]) -> tuple[float, ...]:
        (aa, ab), (_, bb) = products().tolist()
        if not aa or not bb:
            return weights
        angle = math.acos(max(-1.0, min(1.0, ab / math.sqrt(aa) / math.sqrt(bb))))
        if math.sin(angle) < _PARALLEL:
            return weights
        return tuple(math.sin(weight * angle) / math.sin(angle) for weight in weights)
