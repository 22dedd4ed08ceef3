"""Any expert."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from multigraft.library.retrieval.selectors import Candidate, Cost, Selector, Target


class Random(Selector):
    """An order that says nothing: drawn anew for every target and seed, the same however experts are arranged."""

    name: ClassVar[str] = "random"
    paper: ClassVar[str] = "none: what any other must beat"
    reads: frozenset[str] = frozenset()

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def scores(self, target: Target, experts: Sequence[Candidate]) -> np.ndarray:
        """In [0, 1). Reads nothing but names."""
        drawn = [hashlib.sha256(repr((self.seed, target.name, expert.name)).encode()).digest() for expert in experts]
        return np.array([int.from_bytes(digest[:6], "big") / 2**48 for digest in drawn])

    def cost(self, target: Target, experts: Sequence[Candidate]) -> Cost:
        """Nothing."""
        return Cost(0, 0)
