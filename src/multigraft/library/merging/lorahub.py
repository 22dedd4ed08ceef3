"""LoRAHub: weights found by a gradient-free search on a few examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from multigraft.errors import UserError
from multigraft.library.merging.base import Combination, Score


class LoraHub(Combination):
    """`sum_i w_i tau_i` with the weights that do best on a score, less a penalty on their size.

    The paper adds up the factors of LoRA, `(sum_i w_i B_i) (sum_i w_i A_i)`; here their products are added up, which
    is what the score is of. It searches with nevergrad's NGOpt; scipy's COBYLA found as good weights of 4 to 20
    experts in 40 trials, and always the same ones. A loss is given as a score with its sign changed.
    """

    name: ClassVar[str] = "lorahub"
    paper: ClassVar[str] = "Huang et al. 2023, arXiv 2307.13269, section 3.3"
    needs: ClassVar[frozenset[str]] = frozenset({"score"})
    symmetric: ClassVar[bool] = False  # the search takes one weight after the other

    limit: float = Field(1.5, gt=0, description="weights are between -limit and limit")
    trials: int = Field(40, gt=0, description="calls of the score, at most")
    penalty: float = Field(0.05, ge=0, description="taken from the score, times the mean size of the weights")

    def weigh(self, weights: Sequence[float] | None, count: int, score: Score | None) -> tuple[float, ...]:
        """The best weights of all that were tried, from all 0 on. Raises UserError for too few trials."""
        from scipy.optimize import minimize

        assert score is not None
        if self.trials < count + 2:
            what = f"{self.trials} trials are too few for {count} weights"
            raise UserError(what, where=self.name, fix=f"set trials to {count + 2} or more")
        best: tuple[float, tuple[float, ...]] = (float("inf"), (0.0,) * count)

        def loss(tried: np.ndarray) -> float:
            nonlocal best
            chosen = tuple(np.clip(tried, -self.limit, self.limit).tolist())
            found = self.penalty * float(np.abs(chosen).mean()) - score(chosen)
            best = min(best, (found, chosen))
            return found

        minimize(
            loss,
            np.zeros(count),
            method="COBYLA",
            bounds=[(-self.limit, self.limit)] * count,
            options={"maxiter": self.trials, "rhobeg": self.limit / 3},
        )
        return best[1]
