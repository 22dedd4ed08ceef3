"""Votes of queries for experts (arXiv 2302.03202, Retrieval of Experts), gathered at once or from a stream.

Each query has one vote. It goes to the expert that holds most of its k nearest keys; with k = 1, as in the paper, to
the expert of its nearest key. Where experts are exactly even, as those of one task with the same keys are, each of
them gets the vote. Experts with equally many votes stand in the order of their summed scores, and then of their
names; a ranking says where that was needed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from scipy.stats import binomtest

from multigraft.library.retrieval.index import Neighbour
from multigraft.settings import Record

_UNIT = 1e-6  # scores are summed in whole numbers of it, so that the order of queries makes no difference


class Place(Record):
    """An expert in a ranking."""

    expert: str
    votes: int
    score: float  # sum, over its votes, of the inner product of query and nearest key
    confidence: float  # its votes over the queries, in [0, 1]
    interval: tuple[float, float]  # 95 %, of the confidence (Wilson)
    tied: tuple[str, ...]  # others with as many votes
    decided_by: Literal["votes", "score", "name"]  # what put it before or behind these

    @property
    def similarity(self) -> float:
        """Mean inner product of its queries and their nearest keys."""
        return self.score / self.votes


class Decision(Record):
    """The expert to use, or None: better use none of them; and why."""

    expert: str | None
    reason: str


class Votes:
    """The votes so far. A stream of single queries ends where all of them at once do."""

    def __init__(self) -> None:
        self.queries = 0
        self._votes: Counter[str] = Counter()
        self._scores: Counter[str] = Counter()  # in units

    def add(self, neighbours: Iterable[Sequence[Neighbour]]) -> None:
        """Count the votes of further queries: the k nearest keys of each, as `Index.search` finds them."""
        for near in neighbours:
            self.queries += 1
            for expert, score in _chosen(near).items():
                self._votes[expert] += 1
                self._scores[expert] += round(score / _UNIT)

    def ranking(self) -> tuple[Place, ...]:
        """The experts with votes, best first."""
        order = sorted(self._votes, key=lambda name: (-self._votes[name], -self._scores[name], name))
        return tuple(self._place(name) for name in order)

    def decide(self, least_confidence: float = 0.0, least_similarity: float = -1.0) -> Decision:
        """The first of the ranking, or none when its confidence or its similarity is below what is asked for.

        One query alone is always of one mind: there, the similarity is the one that says something.
        """
        if not self._votes:
            return Decision(expert=None, reason="there is no query yet")
        best = self.ranking()[0]
        said = f"{best.expert} has {best.votes} of {self.queries} votes, at a mean similarity of {best.similarity:.2f}"
        if best.tied:
            said += f", and as many as {', '.join(best.tied)}: decided by {best.decided_by}"
        if best.confidence < least_confidence:
            return Decision(expert=None, reason=f"{said}; its confidence is below {least_confidence:g}")
        if best.similarity < least_similarity:
            return Decision(expert=None, reason=f"{said}; its similarity is below {least_similarity:g}")
        return Decision(expert=best.expert, reason=said)

    def _place(self, name: str) -> Place:
        votes, score = self._votes[name], self._scores[name]
        tied = tuple(sorted(other for other in self._votes if other != name and self._votes[other] == votes))
        even = any(self._scores[other] == score for other in tied)
        ends = binomtest(votes, self.queries).proportion_ci(0.95, "wilson")
        return Place(
            expert=name,
            votes=votes,
            score=score * _UNIT,
            confidence=votes / self.queries,
            interval=(float(ends.low), float(ends.high)),
            tied=tied,
            decided_by="name" if even else "score" if tied else "votes",
        )


def _chosen(near: Sequence[Neighbour]) -> dict[str, float]:
    """The experts that hold most of these keys, and if even, the nearest ones; with the score of their nearest key.

    Keys of one expert that are equally near, as copies of one text are, count once.
    """
    held: defaultdict[str, list[float]] = defaultdict(list)
    for expert, score in near:
        if score not in held[expert]:
            held[expert].append(score)
    most = max((len(scores), sum(scores)) for scores in held.values())
    return {expert: max(scores) for expert, scores in held.items() if (len(scores), sum(scores)) == most}
