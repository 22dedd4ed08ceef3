"""Selectors, one file each: which expert of a library suits a target that has none of its own.

A selector compares what is known of the target with what is known of each expert. Nothing here runs a model: what
experts answer on the target is computed elsewhere, and `cost` says how many forward passes that takes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np

from multigraft.library.reads import Reads
from multigraft.registry import Registry


@dataclass(frozen=True)
class Candidate:
    """What is known of an expert of the library."""

    name: str
    keys: np.ndarray | None = None  # S x D: its key vectors, each of length 1
    vector: np.ndarray | None = None  # (V,): its weights, or the average token of its prompt

    @property
    def called(self) -> str:
        """What messages call it."""
        return f"expert {self.name!r}"


@dataclass(frozen=True)
class KnownTask:
    """A task on whose validation examples every expert was scored, once for all targets."""

    name: str
    texts: np.ndarray | None = None  # S x D: embeddings of a sample of its texts, by the encoder of the keys
    scores: Mapping[str, float] = field(default_factory=dict)  # by expert, the higher the better

    @property
    def called(self) -> str:
        """What messages call it."""
        return f"task {self.name!r}"


@dataclass(frozen=True)
class Target:
    """What is known of a target; each selector reads some of it, and what it does not read may be left out.

    Under an expert means: with the frozen backbone and that expert, on Q instances without labels or k with.
    """

    name: str
    texts: np.ndarray | None = None  # Q x D: embeddings of its instances, each of length 1
    vector: np.ndarray | None = None  # (V,): as an expert's, of a part that was trained on the k examples
    tasks: Sequence[KnownTask] = ()
    probabilities: Mapping[str, np.ndarray] = field(default_factory=dict)  # by expert, Q x C: of the options
    likelihoods: Mapping[str, np.ndarray] = field(default_factory=dict)  # by expert, (Q,): log p of each input, a token
    losses: Mapping[str, np.ndarray] = field(default_factory=dict)  # by expert, (k,): of labelled examples

    @property
    def called(self) -> str:
        """What messages call it."""
        return f"target {self.name!r}"


class Cost(NamedTuple):
    """Forward passes of single rows for one target, beyond what was computed once for the library."""

    backbone: int  # with an expert in it
    encoder: int  # the sentence encoder


class Selector(Reads, ABC):
    """A way to rank experts for a target. A subclass lives in a file of its own; it sets `name`, `paper`, `reads`."""

    kind: ClassVar[str] = "selector"
    paper: ClassVar[str]
    reads: frozenset[str]  # of the fields of a target and of candidates

    @abstractmethod
    def scores(self, target: Target, experts: Sequence[Candidate]) -> np.ndarray:
        """A finite score of each of N experts, (N,): the higher, the better it should suit the target.

        Raises UserError when what this selector reads is missing, holds NaN, or differs in shape between experts.
        """

    @abstractmethod
    def cost(self, target: Target, experts: Sequence[Candidate]) -> Cost:
        """What the scores of this target take. Raises UserError as `scores`."""

    def answered(self, target: Target, experts: Sequence[Candidate]) -> np.ndarray:
        """The probabilities of the options under each of N experts, N x Q x C. Raises UserError unless they are."""
        shape: Sequence[int] = (-1, -1)
        found = []
        for expert in experts:
            one = self.under(target, expert, "probabilities", shape)
            if (one < 0).any() or not np.allclose(one.sum(axis=1), 1, atol=1e-3):
                raise self.fault(f"probabilities of {target.called} under {expert.name!r} are none")
            shape = one.shape
            found.append(one.astype(np.float64))
        return np.stack(found) if found else np.zeros((0, 1, 1))

    def rows(self, target: Target, experts: Sequence[Candidate], what: str) -> Cost:
        """The cost of `what`, of which each entry along the first axis took a pass with that expert."""
        return Cost(sum(len(self.under(target, expert, what)) for expert in experts), 0)


def ranks(scores: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Place of each of N experts, (N,): 0 for the highest score; equal scores stand by name."""
    places = np.empty(len(scores), np.int64)
    places[sorted(range(len(scores)), key=lambda i: (-scores[i], names[i]))] = np.arange(len(scores))
    return places


SELECTORS: Registry[Selector] = Registry(
    "selector", "multigraft.library.retrieval.selectors", "multigraft.library.retrieval.selectors:Selector"
)
