"""Predictors of transfer, one file each: which source tasks will help a target, before any of them is tried.

A predictor compares what is known of a target with what is known of each source. Nothing here runs a model: the
arrays of `Known` are computed elsewhere, on one and the same frozen backbone for all tasks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from multigraft.errors import UserError
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


class Predictor(ABC):
    """A way to rank sources for a target. A subclass lives in a file of its own and sets `name` and `paper`."""

    name: ClassVar[str]
    paper: ClassVar[str]

    @abstractmethod
    def scores(self, target: Known, sources: Sequence[Known]) -> np.ndarray:
        """A finite score of each of N sources, (N,): the higher, the more it should help the target.

        Raises UserError when what this predictor reads is missing, holds NaN, or differs in shape between tasks.
        """

    def array(self, task: Known, what: str, shape: Sequence[int] | None = None) -> np.ndarray:
        """The array `what` of a task. Raises UserError when it is missing, not finite, or not of `shape`."""
        value = getattr(task, what)
        if value is None:
            raise self.fault(f"task {task.name!r} comes without {what}")
        return self.checked(value, f"{what} of task {task.name!r}", shape)

    def under(self, target: Known, source: Known, what: str, shape: Sequence[int] | None = None) -> np.ndarray:
        """The value of `what` of the target under a source, with the same checks."""
        by_source = getattr(target, what)
        if source.name not in by_source:
            raise self.fault(f"task {target.name!r} comes without {what} under {source.name!r}")
        return self.checked(by_source[source.name], f"{what} of task {target.name!r} under {source.name!r}", shape)

    def checked(self, value: Any, what: str, shape: Sequence[int] | None) -> np.ndarray:
        """`value` as an array; -1 in `shape` stands for any number of entries."""
        array = np.asarray(value)
        fits = shape is None or (len(shape) == array.ndim and all(w in (-1, h) for w, h in zip(shape, array.shape)))
        if array.size == 0 or not fits:
            wanted = "" if shape is None else f", expected {_words(shape)}"
            raise self.fault(f"{what} has shape {_words(array.shape)}{wanted}")
        if not np.isfinite(array).all():
            raise self.fault(f"{what} holds NaN or infinity")
        return array

    def fault(self, what: str) -> UserError:
        """The error of this predictor."""
        return UserError(what, where=f"predictor {self.name}")


def _words(shape: Sequence[int]) -> str:
    return " x ".join("any" if length < 0 else str(length) for length in shape) or "of a single number"


PREDICTORS: Registry[Predictor] = Registry(
    "predictor", "multigraft.library.predictors", "multigraft.library.predictors:Predictor"
)
