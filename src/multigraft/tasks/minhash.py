"""Near-duplicates: MinHash over word shingles with LSH banding, and the exact Jaccard similarity of what it finds.

Broder 1997, "On the resemblance and containment of documents"; bands as in Leskovec, Rajaraman and Ullman, "Mining of
Massive Datasets", chapter 3. Everything is a function of the texts alone: the same on every machine and in every run.

Shapes: `n` rows, `K` signature values.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
from pydantic import Field

from multigraft.settings import Record

Hashes = npt.NDArray[np.uint64]
Signatures = npt.NDArray[np.uint32]
Indices = npt.NDArray[np.int64]

BLOCK = 1024  # rows whose shingles are held at once
PAIRS = 1 << 18  # candidate pairs whose signatures are compared at once
MARGIN = 0.2  # estimates this far below the threshold are not looked at: 4.5 standard errors of 128 values
_WORD = re.compile(r"\w+")


class Nearness(Record):
    """When two rows count as near-duplicates. A pair at the default threshold is found with probability 0.99."""

    threshold: float = Field(0.6, gt=0, le=1, description="least Jaccard similarity of the sets of shingles")
    words: int = Field(3, ge=1, le=100, description="words in a shingle")
    hashes: int = Field(128, ge=1, le=4096, description="values in a signature")
    rows_in_band: int = Field(4, ge=1, description="values that have to agree in one band, at least")


@dataclass(frozen=True)
class Sets:
    """A set of shingles for each of `n` rows, one behind the other."""

    values: Hashes  # in any order, some of them repeated
    starts: Indices  # n + 1: row i is values[starts[i]:starts[i + 1]]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> Hashes:
        return self.values[self.starts[row] : self.starts[row + 1]]


@dataclass(frozen=True)
class Match:
    """Two rows that are near-duplicates: of the rows that were asked for, and of the index."""

    row: int
    other: int
    estimated: float
    exact: float


class Words(dict[str, int]):
    """Hash of each word, 64 bits, the same in every process."""

    def __missing__(self, word: str) -> int:
        value = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        self[word] = value
        return value


def shingles(rows: Iterable[Sequence[str]], words: int, known: Words) -> Sets:
    """The sets of hashed word shingles of rows of texts; a shingle never spans two texts.

    Case and punctuation do not count. A text shorter than `words` is one shingle; one without any word stands for
    itself. `known` keeps the hashes of words between calls.
    """
    flat = array("Q")
    lengths: list[int] = []  # words per text
    texts: list[int] = []  # texts per row
    for row in rows:
        for text in row:
            found = _WORD.findall(text.casefold()) or [text]
            flat.extend(map(known.__getitem__, found))
            lengths.append(len(found))
        texts.append(len(row))
    values, counts = _windows(np.frombuffer(flat, np.uint64), np.array(lengths, np.int64), words)
    sums = np.concatenate([[0], np.cumsum(counts)])  # shingles up to each text
    return Sets(values, sums[np.concatenate([[0], np.cumsum(texts)]).astype(np.int64)])


def _windows(hashes: Hashes, lengths: Indices, words: int) -> tuple[Hashes, Indices]:
    """One hash for each window of `words` words within a text, or for a shorter text; and their number per text."""
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(hashes))  # words from here to the end of the text
    short = left == np.repeat(np.where(lengths < words, lengths, 0), lengths)  # first of a short text
    value = _mix(hashes)
    for step in range(1, words):
        following = np.concatenate([hashes[step:], np.zeros(min(step, len(hashes)), np.uint64)])
        value = np.where(left > step, _mix(value + following), value)
    return value[short | (left >= words)], np.maximum(lengths - words + 1, np.minimum(lengths, 1))


def _mix(x: Hashes) -> Hashes:
    """A bijection of 64-bit words in which every input bit moves every output bit (the finaliser of SplitMix64)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def signatures(sets: Sets, hashes: int) -> Signatures:
    """MinHash signatures (n K) of non-empty sets: the share of equal values estimates the Jaccard similarity."""
    made = np.empty((len(sets), hashes), np.uint32)
    if not len(sets):
        return made
    values = (_mix(sets.values) >> np.uint64(32)).astype(np.uint32)
    factors = (_mix(np.arange(hashes, dtype=np.uint64)) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
    offsets = _mix(np.arange(hashes, 2 * hashes, dtype=np.uint64)).astype(np.uint32)
    for k in range(hashes):
        made[:, k] = np.minimum.reduceat(values * factors[k] + offsets[k], sets.starts[:-1])
    return made


def jaccard(a: Hashes, b: Hashes) -> float:
    """Jaccard similarity of the sets of values in `a` and in `b`, of which one is not empty."""
    shared = len(np.intersect1d(a, b))
    return shared / (len(np.unique(a)) + len(np.unique(b)) - shared)


class Index:
    """Rows that others are compared with; their signatures and shingles are kept in memory, the others' are not."""

    def __init__(self, rows: Iterable[Sequence[str]], nearness: Nearness) -> None:
        self.nearness = nearness
        self._known = Words()
        blocks = list(self._blocks(rows))
        self._sets = [sets for sets, _ in blocks]
        self._signatures = np.concatenate([np.empty((0, nearness.hashes), np.uint32), *(made for _, made in blocks)])
        first: dict[bytes, int] = {}  # of equal rows only the first is looked up
        for row in range(len(self._signatures)):
            first.setdefault(np.unique(self._set(row)).tobytes(), row)
        kept = np.array(list(first.values()), np.int64)
        orders = [(keys, np.argsort(keys, kind="stable")) for keys in self._band_keys(self._signatures[kept])]
        self._bands = [(keys[order], kept[order]) for keys, order in orders]

    def near(self, rows: Iterable[Sequence[str]]) -> Iterator[Match]:
        """For each of `rows` that is a near-duplicate of one in the index: the most similar one, first of equals."""
        for block, (sets, made) in enumerate(self._blocks(rows)):
            best: dict[int, Match] = {}
            for row, other, estimated in self._candidates(made):
                exact = jaccard(sets[row], self._set(other))
                match = Match(block * BLOCK + row, other, estimated, exact)
                if exact >= self.nearness.threshold and _rank(match) < _rank(best.get(row)):
                    best[row] = match
            yield from (best[row] for row in sorted(best))

    def _set(self, row: int) -> Hashes:
        return self._sets[row // BLOCK][row % BLOCK]

    def _blocks(self, rows: Iterable[Sequence[str]]) -> Iterator[tuple[Sets, Signatures]]:
        source = iter(rows)
        while block := list(islice(source, BLOCK)):
            sets = shingles(block, self.nearness.words, self._known)
            yield sets, signatures(sets, self.nearness.hashes)

    def _band_keys(self, made: Signatures) -> Iterator[Hashes]:
        """For each band one key per row (n): equal where the values of the band are."""
        width = self.nearness.rows_in_band
        for start in range(0, self.nearness.hashes, width):
            key = np.full(len(made), start, np.uint64)
            for k in range(start, min(start + width, self.nearness.hashes)):
                key = _mix(key ^ made[:, k])
            yield key

    def _candidates(self, made: Signatures) -> Iterator[tuple[int, int, float]]:
        """Row, other row and estimate of pairs that agree in a band and are not far below the threshold, each once."""
        seen: set[tuple[int, int]] = set()
        for keys, (ordered, numbers) in zip(self._band_keys(made), self._bands):
            first, last = np.searchsorted(ordered, keys, "left"), np.searchsorted(ordered, keys, "right")
            for rows, positions in _expand(first, last):
                others = numbers[positions]
                estimated = (made[rows] == self._signatures[others]).mean(axis=1)
                for i in np.flatnonzero(estimated >= self.nearness.threshold - MARGIN).tolist():
                    pair = int(rows[i]), int(others[i])
                    if pair not in seen:
                        seen.add(pair)
                        yield *pair, float(estimated[i])


def _rank(match: Match | None) -> tuple[float, int]:
    return (-match.exact, match.other) if match else (0.0, 0)


def _expand(first: Indices, last: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Each row i paired with each position from first[i] to last[i], in blocks of about PAIRS pairs."""
    rows = np.flatnonzero(last > first)
    parts = (np.cumsum((last - first)[rows]) - 1) // PAIRS
    for part in np.unique(parts):
        own = rows[parts == part]
        counts = last[own] - first[own]
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        yield np.repeat(own, counts), np.repeat(first[own], counts) + offsets
