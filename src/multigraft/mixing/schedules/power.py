"""The power laws: the share of a task grows with a power of its size."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from multigraft.mixing.schedule import Schedule


class PowerLaw(Schedule):
    """`p_i ∝ min(N_i, cap)^alpha`; the schedules of this file differ in their alpha."""

    cap: int | None = Field(None, ge=1, description="size that larger tasks count as, in examples")

    @abstractmethod
    def alpha(self, epoch: int, epochs: int) -> float:
        """The exponent in `epoch` (from 1) of `epochs`."""

    def shares(self, sizes: Sequence[int], epoch: int, epochs: int, total_rows: int) -> list[float]:
        """Shares of `N` tasks by the power law."""
        alpha = self.alpha(epoch, epochs)
        # Relative to the largest size, so that no power overflows.
        capped = [min(size, self.cap or size) for size in sizes]
        powers = [(size / max(capped)) ** alpha for size in capped]
        return [power / sum(powers) for power in powers]


class Proportional(PowerLaw):
    """alpha = 1: every example is equally likely (arXiv 1902.02671, "Sampling tasks")."""

    name: ClassVar[str] = "proportional"

    def alpha(self, epoch: int, epochs: int) -> float:
        """1 in every epoch."""
        return 1.0


class SquareRoot(PowerLaw):
    """alpha = 0.5: between proportional and equal (arXiv 1902.02671, "Sampling tasks")."""

    name: ClassVar[str] = "square_root"

    def alpha(self, epoch: int, epochs: int) -> float:
        """0.5 in every epoch."""
        return 0.5


class Temperature(PowerLaw):
    """alpha = 1 / temperature: 1 is proportional, large values near equality (arXiv 1910.10683, section 3.5.2)."""

    name: ClassVar[str] = "temperature"
    temperature: float = Field(2.0, gt=0, description="the larger, the more equal the tasks")

    def alpha(self, epoch: int, epochs: int) -> float:
        """1 / temperature in every epoch."""
        return 1 / self.temperature


class Annealed(PowerLaw):
    """alpha falls from 1 to 0.2 over the run, so that the tasks are near equal at its end.

    `alpha = 1 - 0.8 (e - 1) / (E - 1)` in epoch `e` of `E` (arXiv 1902.02671, "Sampling tasks").
    """

    name: ClassVar[str] = "annealed"
    start: float = Field(1.0, ge=0, description="exponent in the first epoch")
    end: float = Field(0.2, ge=0, description="exponent in the last epoch")

    def alpha(self, epoch: int, epochs: int) -> float:
        """Linear from `start` to `end`; `start` when there is one epoch only."""
        return self.start + (self.end - self.start) * (epoch - 1) / max(epochs - 1, 1)
