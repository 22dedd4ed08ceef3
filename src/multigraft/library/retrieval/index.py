"""The index of a library: the key nearest to a query, the one with the largest inner product (FAISS).

The search is exact up to the size that `approximate` states. In a larger index it can miss near keys, but rarely the
nearest; the scores of those that it finds are exact.

Experts come and go in place: what the others have in the index is neither read nor computed again, but for the few
times that it outgrows its codes. Nothing is saved beside the library: its key vectors are the index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np

from multigraft.errors import UserError, unknown
from multigraft.library.card import KeysCard
from multigraft.library.retrieval.approximate import Keys
from multigraft.library.store import Expert, Library

EQUAL = 1e-5  # scores as near as that differ by rounding, such as that of a text in batches of different lengths
_REINDEX = "run multigraft library index"


class Neighbour(NamedTuple):
    """A key near to a query: whose it is, and their inner product."""

    expert: str
    score: float


class Index:
    """The keys of experts, S x D each, all made in one way; S may differ.

    Attributes: `made` (how, None as long as it is empty), `without` (experts of the library that have no keys).
    """

    def __init__(self) -> None:
        self.made: KeysCard | None = None
        self.without: tuple[str, ...] = ()
        self._keys: Keys | None = None  # each under the number of its expert
        self._free = count()
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._files: dict[str, str] = {}  # SHA-256 of the keys of experts that came from a library

    @classmethod
    def of(cls, library: Library) -> Index:
        """The index of a library. Raises UserError as `follow`, and when no expert has keys."""
        index = cls()
        index.follow(library)
        if not index.names:
            raise UserError("no expert has key vectors", where=library.folder, fix=_REINDEX)
        return index

    @property
    def names(self) -> tuple[str, ...]:
        """The experts in it, sorted."""
        return tuple(sorted(self._numbers))

    def __len__(self) -> int:
        """Keys, of all experts together."""
        return len(self._keys) if self._keys is not None else 0

    def follow(self, library: Library) -> None:
        """Take in which experts of the library came, went, or have other keys than before.

        Raises UserError for keys that are damaged or were not made as the others, and when nobody knows how.
        """
        there = {expert.name: expert for expert in library.list()}
        files = {name: expert.keys for name, expert in there.items() if expert.keys is not None}
        self._drop([name for name, file in self._files.items() if files.get(name) != file])
        for name in sorted(files.keys() - self._files.keys()):
            self._take(there[name], files[name])
        self.without = tuple(name for name, expert in there.items() if expert.keys is None)

    def add(self, name: str, keys: np.ndarray, made: KeysCard) -> None:
        """Add an expert's keys S x D, or put them in the place of those that it had.

        Raises UserError when they were made in another way than those that are here, or are no such array.
        """
        others = len(self._numbers) > (name in self._numbers)
        if others:
            self.check(made, f"expert {name}")
        keys = _checked(keys, self._keys.width if self._keys and others else None, f"keys of expert {name}")
        if not len(keys):
            raise UserError("has no keys", where=f"expert {name}", fix="leave it out of the index")
        if name in self._numbers:
            self.remove(name)
        if self._keys is None:
            self._keys = Keys(keys.shape[1])
        self.made = made
        number = self._numbers[name] = next(self._free)
        self._names[number] = name
        self._keys.add(keys, number)

    def remove(self, name: str) -> None:
        """Take an expert out. Raises UserError when it is not there."""
        if name not in self._numbers:
            raise unknown("expert", name, self._numbers)
        self._drop([name])

    def check(self, made: KeysCard, where: object) -> None:
        """Raises UserError unless vectors were made as the keys: one encoder, one text format, one length."""
        if self.made is None or made == self.made:
            return
        mine, theirs = _plain(self.made), _plain(made)
        what = next(key for key in mine if mine[key] != theirs[key])
        raise UserError(f"has vectors made with {what} {theirs[what]}, the index with {mine[what]}", where=where,
                        fix=f"make them alike: {_REINDEX}")  # fmt: skip

    def search(self, queries: np.ndarray, k: int = 1) -> list[list[Neighbour]]:
        """The k nearest keys of each of Q queries Q x D, nearest first, and all that are as near as the last of them.

        Scores that differ by rounding are made equal, and equal ones stand by name, so that neither the order in
        which experts came nor the batch that a query is in makes a difference. Raises UserError for an empty index,
        and for queries of another width.
        """
        if self._keys is None:
            raise UserError("the index is empty", fix="add experts with key vectors")
        if k < 1:
            raise UserError(f"k is {k}", fix="choose at least one neighbour")
        queries = _checked(queries, self._keys.width, "queries")
        found: list[list[Neighbour]] = [[] for _ in queries]
        for row, scores, owners in self._nearest(queries, np.arange(len(queries)), min(k, len(self)), 2 * k + 6):
            found[row] = sorted(
                (Neighbour(self._names[int(owner)], score) for owner, score in zip(owners, _levelled(scores))),
                key=lambda neighbour: (-neighbour.score, neighbour.expert),
            )
        return found

    def _nearest(
        self, queries: np.ndarray, rows: np.ndarray, k: int, depth: int
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Row, scores and experts' numbers of the k nearest keys and their equals; as deep as there are equals."""
        depth = min(depth, len(self))
        scores, owners = self._search(queries, depth)
        kept = scores >= scores[:, k - 1 : k] - EQUAL
        deeper = kept[:, -1] & (depth < len(self))
        for row in np.flatnonzero(~deeper):
            yield int(rows[row]), scores[row][kept[row]], owners[row][kept[row]]
        if deeper.any():
            yield from self._nearest(queries[deeper], rows[deeper], k, 4 * depth)

    def _search(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        import faiss

        assert self._keys is not None
        threads = faiss.omp_get_max_threads()
        if len(queries) == 1:  # one thread's work: the others would be waited for, 50 times as long on busy cores
            faiss.omp_set_num_threads(1)
        try:
            return self._keys.search(queries, depth)
        finally:
            faiss.omp_set_num_threads(threads)

    def _drop(self, names: Sequence[str]) -> None:
        if not names or self._keys is None:
            return
        numbers = [self._numbers.pop(name) for name in names]
        for name, number in zip(names, numbers):
            del self._names[number]
            self._files.pop(name, None)
        self._keys.remove(numbers)
        if not self._numbers:
            self.made = self._keys = None

    def _take(self, expert: Expert, file: str) -> None:
        keys, made = expert.key_vectors(), expert.card.retrieval
        if keys is None or made is None:
            what = "has key vectors, but its card does not say how they were made"
            raise UserError(what, where=f"expert {expert.name}", fix=_REINDEX)
        self.add(expert.name, keys, made)
        self._files[expert.name] = file


def _checked(vectors: np.ndarray, width: int | None, what: str) -> np.ndarray:
    vectors = np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2 or width not in (None, vectors.shape[1]) or not np.isfinite(vectors).all():
        wanted = "any" if width is None else width
        shape = " x ".join(map(str, vectors.shape))
        raise UserError(f"{what} are {shape}, expected finite numbers, any x {wanted}", fix=_REINDEX)
    return vectors


def _levelled(scores: np.ndarray) -> list[float]:
    """Scores, best first, each made equal to the best of those that it differs from by rounding only."""
    levelled: list[float] = []
    for score in scores.tolist():
        levelled.append(levelled[-1] if levelled and score >= levelled[-1] - EQUAL else score)
    return levelled


def _plain(made: KeysCard) -> dict[str, object]:
    """What to name in a message, in the order of what matters."""
    return {"encoder": made.encoder, "fingerprint": made.encoder_fingerprint, "text format": made.text.parts,
            "field names": made.text.field_names, "texts cut at": made.tokens}  # fmt: skip
