"""Choosing the settings or weights of a merge by a score."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

from multigraft.errors import UserError

T = TypeVar("T")


class Chosen(NamedTuple, Generic[T]):
    """The best of what was tried, its score, and the scores of all, in the order tried."""

    best: T
    score: float
    tried: list[tuple[T, float]]


def best_of(candidates: Iterable[T], score: Callable[[T], float]) -> Chosen[T]:
    """The candidate with the highest score; of equal ones the first.

    `score` must be of examples that are neither the test set nor what the models were trained on: a choice made on
    the test set says nothing about new examples. Raises UserError when there is no candidate.
    """
    tried = [(candidate, score(candidate)) for candidate in candidates]
    if not tried:
        raise UserError("nothing to choose from", fix="give at least one candidate")
    best, found = max(tried, key=lambda pair: pair[1])
    return Chosen(best, found, tried)


def shares(count: int, parts: int) -> Iterator[tuple[float, ...]]:
    """All weights of `count` models that are multiples of 1 / parts and sum to 1: from (0, ..., 1) to (1, ..., 0)."""
    for bars in itertools.combinations(range(parts + count - 1), count - 1):
        edges = (-1, *bars, parts + count - 1)
        yield tuple((after - before - 1) / parts for before, after in itertools.pairwise(edges))
