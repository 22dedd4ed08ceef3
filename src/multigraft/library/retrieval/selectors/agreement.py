"""How much an expert says what the others say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from multigraft.library.retrieval.selectors import Candidate, Cost, Selector, Target


class Agreement(Selector):
    """The mean, over instances and over the other experts, of the probability that two answers drawn are the same.

    Errors of independent experts differ and right answers do not, so that who agrees with many is more often right.
    """

    name: ClassVar[str] = "agreement"
    paper: ClassVar[str] = "after Platanios et al. 2014, Estimating Accuracy from Unlabeled Data"
    reads: frozenset[str] = frozenset({"probabilities"})

    def scores(self, target: Target, experts: Sequence[Candidate]) -> np.ndarray:
        """In [0, 1]; 0 for an expert alone. Reads `probabilities`."""
        answers = self.answered(target, experts)
        others = answers.sum(axis=0) - answers
        return (answers * others).sum(axis=2).mean(axis=1) / max(len(experts) - 1, 1)

    def cost(self, target: Target, experts: Sequence[Candidate]) -> Cost:
        """Q rows under each expert."""
        return self.rows(target, experts, "probabilities")
