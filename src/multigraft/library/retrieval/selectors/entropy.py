"""How undecided an expert's answers are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from scipy.special import entr

from multigraft.library.retrieval.selectors import Candidate, Cost, Selector, Target


class Entropy(Selector):
    """Minus the mean entropy of the answers: an expert that knows what to say is sure of it."""

    name: ClassVar[str] = "entropy"
    paper: ClassVar[str] = "Wang et al. 2021, arXiv 2006.10726, whose training objective it is; here a measure"
    reads: frozenset[str] = frozenset({"probabilities"})

    def scores(self, target: Target, experts: Sequence[Candidate]) -> np.ndarray:
        """Nats, at most 0. Reads `probabilities`."""
        return -entr(self.answered(target, experts)).sum(axis=2).mean(axis=1)

    def cost(self, target: Target, experts: Sequence[Candidate]) -> Cost:
        """Q rows under each expert."""
        return self.rows(target, experts, "probabilities")
