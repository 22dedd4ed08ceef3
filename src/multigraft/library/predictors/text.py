"""Similarity of the tasks' texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from multigraft.library.predictors import Known, Predictor
from multigraft.library.similarity import embeddings


class Text(Predictor):
    """Cosine of the mean text embeddings of source and target: needs no prompt, and no label."""

    name: ClassVar[str] = "text"
    paper: ClassVar[str] = "TextEmb of Vu et al. 2020, arXiv 2005.00770, section 4"
    reads: ClassVar[frozenset[str]] = frozenset({"texts"})

    def scores(self, target: Known, sources: Sequence[Known]) -> np.ndarray:
        """In [-1, 1]. Reads `texts`."""
        wanted = self.array(target, "texts", (-1, -1))
        texts = [wanted, *(self.array(source, "texts", (-1, wanted.shape[1])) for source in sources)]
        vectors = embeddings(texts, "average_tokens")
        return vectors[1:] @ vectors[0]
