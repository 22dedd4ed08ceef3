"""Similarity of weights, or of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from multigraft.library.retrieval.selectors import Candidate, Cost, Selector, Target
from multigraft.library.similarity import direction


class Weights(Selector):
    """Cosine of the target's vector and each expert's.

    A vector is the average token of a prompt, or all weights of a module one after the other. The target's comes
    from a short training on its k examples, from the start that the experts had: their weights compare only then.
    """

    name: ClassVar[str] = "weights"
    paper: ClassVar[str] = "Vu et al. 2022, arXiv 2110.07904, section 4.1, for prompts; the same for other weights"
    reads: frozenset[str] = frozenset({"vector"})

    def scores(self, target: Target, experts: Sequence[Candidate]) -> np.ndarray:
        """In [-1, 1]. Reads `vector`, of target and experts."""
        wanted = self.array(target, "vector", (-1,))
        vectors = [self.array(expert, "vector", wanted.shape) for expert in experts]
        return np.array([float(direction(vector) @ direction(wanted)) for vector in vectors])

    def cost(self, target: Target, experts: Sequence[Candidate]) -> Cost:
        """Nothing beyond the short training, whatever the number of experts."""
        return Cost(0, 0)
