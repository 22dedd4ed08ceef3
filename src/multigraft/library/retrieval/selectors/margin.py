"""How far an expert's answer stands before the next one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from multigraft.library.retrieval.selectors import Candidate, Cost, Selector, Target


class Margin(Selector):
    """Mean difference of the two largest probabilities."""

    name: ClassVar[str] = "margin"
    paper: ClassVar[str] = "Scheffer et al. 2001, Active Hidden Markov Models for Information Extraction: the margin"
    reads: frozenset[str] = frozenset({"probabilities"})

    def scores(self, target: Target, experts: Sequence[Candidate]) -> np.ndarray:
        """In [0, 1]. Reads `probabilities`; a single option stands alone, with margin 1."""
        ordered = np.sort(self.answered(target, experts), axis=2)[..., ::-1]
        second = ordered[..., 1] if ordered.shape[2] > 1 else np.zeros(ordered.shape[:2])
        return (ordered[..., 0] - second).mean(axis=1)

    def cost(self, target: Target, experts: Sequence[Candidate]) -> Cost:
        """Q rows under each expert."""
        return self.rows(target, experts, "probabilities")
