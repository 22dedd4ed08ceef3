"""How little the target's inputs surprise an expert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from multigraft.library.retrieval.selectors import Candidate, Cost, Selector, Target


class InputLikelihood(Selector):
    """Mean log-likelihood of the inputs, per token, for backbones that can write them."""

    name: ClassVar[str] = "input_likelihood"
    paper: ClassVar[str] = "after Li et al. 2022, arXiv 2208.03306: the posterior of a domain, by its likelihood"
    reads: frozenset[str] = frozenset({"likelihoods"})

    def scores(self, target: Target, experts: Sequence[Candidate]) -> np.ndarray:
        """Nats per token. Reads `likelihoods`."""
        return np.array([self.under(target, expert, "likelihoods", (-1,)).mean() for expert in experts])

    def cost(self, target: Target, experts: Sequence[Candidate]) -> Cost:
        """Q rows under each expert."""
        return self.rows(target, experts, "likelihoods")
