"""A shortlist by one selector, re-ranked by another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from multigraft.errors import UserError
from multigraft.library.retrieval.selectors import SELECTORS, Candidate, Cost, Selector, Target, ranks


class TwoStage(Selector):
    """The best `keep` of a cheap selector in the order of a dear one, and then the others as the first has them."""

    name: ClassVar[str] = "two_stage"
    paper: ClassVar[str] = "none: retrieval and re-ranking, as in search"

    def __init__(
        self, first: Selector | str = "task_routing", second: Selector | str = "few_shot_loss", keep: int = 5
    ) -> None:
        """Selectors or names of selectors. Raises UserError for an unknown name, and for `keep` below 1."""
        if keep < 1:
            raise UserError(f"a shortlist of {keep}", where=f"selector {self.name}", fix="keep at least 1")
        self.first, self.second = (
            one if isinstance(one, Selector) else SELECTORS.get(one)() for one in (first, second)
        )
        self.keep = keep
        self.reads = self.first.reads | self.second.reads

    def scores(self, target: Target, experts: Sequence[Candidate]) -> np.ndarray:
        """Minus the place: 0, -1, -2, .... Reads what the two read, for the second of the shortlist only."""
        places, listed = self._shortlist(target, experts)
        shortlist = [experts[i] for i in listed]
        places[listed] = ranks(self.second.scores(target, shortlist), [expert.name for expert in shortlist])
        return (-places).astype(np.float64)

    def cost(self, target: Target, experts: Sequence[Candidate]) -> Cost:
        """That of the first for all experts, and of the second for the shortlist."""
        _, listed = self._shortlist(target, experts)
        costs = (self.first.cost(target, experts), self.second.cost(target, [experts[i] for i in listed]))
        return Cost(sum(cost.backbone for cost in costs), sum(cost.encoder for cost in costs))

    def _shortlist(self, target: Target, experts: Sequence[Candidate]) -> tuple[np.ndarray, np.ndarray]:
        """Places by the first selector (N,), and which experts it keeps."""
        places = ranks(self.first.scores(target, experts), [expert.name for expert in experts])
        return places, np.flatnonzero(places < self.keep)
