"""Loss on a few labelled examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from multigraft.library.retrieval.selectors import Candidate, Cost, Selector, Target


class FewShotLoss(Selector):
    """Minus the mean loss on k labelled examples of the target, without training."""

    name: ClassVar[str] = "few_shot_loss"
    paper: ClassVar[str] = "Huang et al. 2023, arXiv 2307.13269: the loss that LoRAHub's search minimises"
    reads: frozenset[str] = frozenset({"losses"})

    def scores(self, target: Target, experts: Sequence[Candidate]) -> np.ndarray:
        """Minus nats (or whatever the losses are in). Reads `losses`."""
        return np.array([-self.under(target, expert, "losses", (-1,)).mean() for expert in experts])

    def cost(self, target: Target, experts: Sequence[Candidate]) -> Cost:
        """k rows under each expert."""
        return self.rows(target, experts, "losses")
