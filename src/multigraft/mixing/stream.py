"""The rows of one task, pass after pass, whatever other tasks do."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def generator(*key: object) -> np.random.Generator:
    """A random generator of its own for every `key`; unlike `hash`, the digest is the same in every process."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


class Stream:
    """An endless sequence of the rows of a task that depends on the seed and the task's name alone.

    It is made of passes: each is a new shuffle of all rows, and the next one starts where it ends, so no row comes
    again before all have come and no tail is dropped. lengths: token length of every row.
    """

    def __init__(self, name: str, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._key = (seed, name)
        self._lengths = np.asarray(lengths, dtype=np.int64)
        self._batch_size = batch_size
        self._cut: tuple[int, np.ndarray] | None = None  # a pass, and the batches that start in it

    def rows(self, first: int, count: int) -> np.ndarray:
        """Rows `first` to `first + count` of the stream, in random order, (count,)."""
        size = len(self._lengths)
        passes = [self._pass(number) for number in range(first // size, _ceil(first + count, size))]
        return np.concatenate([np.empty(0, dtype=np.int64), *passes])[first % size :][:count]

    def batch(self, number: int) -> np.ndarray:
        """Rows of a batch of like lengths, (B,); batches are counted from 0."""
        size, first = len(self._lengths), number * self._batch_size
        current = first // size
        if self._cut is None or self._cut[0] != current:
            self._cut = current, self._batches(current)
        return self._cut[1][number - _ceil(current * size, self._batch_size)]

    def _pass(self, number: int) -> np.ndarray:
        return generator("pass", *self._key, number).permutation(len(self._lengths))

    def _batches(self, number: int) -> np.ndarray:
        """The batches that start in a pass, (n, B): rows sorted by length, cut, and the batches shuffled.

        Every other pass runs from long to short, so that the batch that leads over to the next pass holds like
        lengths too; it stays the last of its pass.
        """
        size, batch_size = len(self._lengths), self._batch_size
        begin = number * size
        first, whole, end = _ceil(begin, batch_size), (begin + size) // batch_size, _ceil(begin + size, batch_size)
        rows = np.concatenate([self._sorted(n) for n in range(number, _ceil(end * batch_size, size))])
        batches = rows[first * batch_size - begin : end * batch_size - begin].reshape(-1, batch_size)
        order = generator("order", *self._key, number).permutation(whole - first)
        return np.concatenate([batches[order], batches[whole - first :]])

    def _sorted(self, number: int) -> np.ndarray:
        rows = self._pass(number)
        lengths = self._lengths[rows]
        return rows[np.argsort(-lengths if number % 2 else lengths, kind="stable")]


def _ceil(part: int, whole: int) -> int:
    """part / whole, rounded up."""
    return -(-part // whole)
