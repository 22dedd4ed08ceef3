"""Predictors of transfer, one file each: which source tasks will help a target, before any of them is tried.

A predictor compares what is known of a target with what is known of each source. Nothing here runs a model: the
arrays of `Known` are computed elsewhere, on one and the same frozen backbone for all tasks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from multigraft.library.reads import Reads
from multigraft.registry import Registry


@dataclass(frozen=True)
class Known:
    """What is known of a task; each predictor reads some of it, and what none of the chosen ones reads may be left out.

    Under a source means: with the frozen backbone and that source's prompt, before any training on this task.
    """

    name: str
    prompt: np.ndarray | None = None  # P x D: the task's own prompt; P may differ between tasks
    texts: np.ndarray | None = None  # S x D: embeddings of a sample of its texts, by one text encoder for all tasks
    fisher: np.ndarray | None = None  # (F,) or P x D, at least 0: diagonal Fisher information, see `fisher`
    size: int | None = None  # training examples
    labels: np.ndarray | None = None  # (n,): of a sample of its examples, class numbers (integers) or numbers (floats)
    features: Mapping[str, np.ndarray] = field(default_factory=dict)  # by source, n x D: of that sample, under it
    losses: Mapping[str, float] = field(default_factory=dict)  # by source: mean loss on a sample, under it

    @property
    def called(self) -> str:
        """What messages call it."""
        return f"task {self.name!r}"


class Predictor(Reads, ABC):
    """A way to rank sources for a target. A subclass has a file of its own; it sets `name`, `paper` and `reads`."""

    kind: ClassVar[str] = "predictor"
    paper: ClassVar[str]
    reads: ClassVar[frozenset[str]]  # fields of `Known`

    @abstractmethod
    def scores(self, target: Known, sources: Sequence[Known]) -> np.ndarray:
        """A finite score of each of N sources, (N,): the higher, the more it should help the target.

        Raises UserError when what this predictor reads is missing, holds NaN, or differs in shape between tasks.
        """


PREDICTORS: Registry[Predictor] = Registry(
    "predictor", "multigraft.library.predictors", "multigraft.library.predictors:Predictor"
)
