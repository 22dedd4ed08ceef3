"""Cosine of average tokens, of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from multigraft.library.predictors import Known, Predictor
from multigraft.library.similarity import embeddings


class AverageTokens(Predictor):
    """Cosine of the mean token of the source's prompt and of the target's."""

    name: ClassVar[str] = "average_tokens"
    paper: ClassVar[str] = "arXiv 2110.07904, section 4.1"
    reads: ClassVar[frozenset[str]] = frozenset({"prompt"})

    def scores(self, target: Known, sources: Sequence[Known]) -> np.ndarray:
        """In [-1, 1]. Reads `prompt`."""
        wanted = self.array(target, "prompt", (-1, -1))
        prompts = [wanted, *(self.array(source, "prompt", (-1, wanted.shape[1])) for source in sources)]
        vectors = embeddings(prompts, self.name)
        return vectors[1:] @ vectors[0]
