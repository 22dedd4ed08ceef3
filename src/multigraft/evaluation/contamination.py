"""Evaluation rows that training texts give away, and the score without them.

A row overlaps when n words of it in a row, whatever their case and punctuation, stand in a training text. A row of
fewer words overlaps when all of it stands there, and a row without words never does (Brown et al. 2020, section 4,
and arXiv 2109.01652, appendix C, with n = 13).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from multigraft.evaluation.statistics import RESAMPLES, Difference, difference, draws
from multigraft.evaluation.template_statistics import Templated

WORDS = 13  # n
_WORD = re.compile(r"\w+")
_TEXTS = 10_000  # training texts held in memory at a time
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no word's part of a hash vanishes


class CleanScore(NamedTuple):
    """Scores in per cent, the mean over seeds and templates, of all rows and of those that do not overlap."""

    rows: int
    overlapping: int
    full: float
    clean: float | None  # None when every row overlaps
    difference: Difference | None  # clean - full


def overlaps(rows: Sequence[str], training: Iterable[str], n: int = WORDS) -> np.ndarray:
    """Which rows overlap with any of the training texts: (rows,) truth values.

    Give the input fields of rows and training examples, not what a template says around them, which all its examples
    have in common. Only the n-grams of the rows are kept, as 64-bit hashes, so memory does not grow with the training
    texts. That any two are mistaken for each other has a chance of 1 in 20,000 for a million against a billion.
    """
    words, row, left = _words(rows)
    size = np.minimum(n, np.bincount(row, minlength=len(rows)))  # words of the n-grams of each row
    indexes = {}
    for m, grams, whole in _grams(words, left, n):
        kept = whole & (size[row[: len(grams)]] == m)
        if kept.any():
            indexes[m] = _Index(grams[kept], row[: len(grams)][kept])
    texts = iter(training)
    while chunk := list(islice(texts, _TEXTS)):
        words, _, left = _words(chunk)
        for m, grams, whole in _grams(words, left, max(indexes, default=0)):
            if m in indexes:
                indexes[m].mark(grams, whole)
    found = np.zeros(len(rows), dtype=bool)
    for index in indexes.values():
        found[index.marked()] = True
    return found


def clean_score(
    task: Templated, overlapping: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> CleanScore:
    """The clean subset against the full set. overlapping: (n,) of the task's rows, as `overlaps` finds them.

    Both are scored on the same resamples, which draw the clean rows and the others apart, so that the share of the
    clean ones stays as it is.
    """
    rows, clean = len(overlapping), int((~overlapping).sum())
    full = float(task.scores().mean())
    if not clean:
        return CleanScore(rows, rows, full, None, None)
    order = np.argsort(overlapping, kind="stable")  # the clean ones first
    without = float(task.scores_on(order[None, :clean]).mean())
    strata = [size for size in (clean, rows - clean) if size]
    found = []
    for drawn in draws(strata, resamples, np.random.default_rng([seed, 4])):
        examples = order[drawn]
        found.append((task.scores_on(examples[:, :clean]) - task.scores_on(examples)).mean((0, 1)))
    return CleanScore(rows, rows - clean, full, without, difference(without - full, np.concatenate(found), level))


class _Index:
    """The n-grams of the rows for one n: sorted hashes, and whether a training text has them."""

    def __init__(self, grams: np.ndarray, owners: np.ndarray) -> None:
        self._sorted, self._places = np.unique(grams, return_inverse=True)
        self._owners = owners  # the row of each gram
        self._found = np.zeros(len(self._sorted), dtype=bool)
        # Most n-grams of training texts are ruled out by the first bits of their hash, which is faster than a search.
        bits = max(16, len(self._sorted).bit_length() + 3)
        self._shift = np.uint64(64 - bits)
        self._sieve = np.zeros(1 << bits, dtype=bool)
        self._sieve[self._sorted >> self._shift] = True

    def mark(self, grams: np.ndarray, whole: np.ndarray) -> None:
        """Take note of the grams of training texts, those that are `whole`."""
        near = grams[self._sieve[grams >> self._shift] & whole]
        places = np.searchsorted(self._sorted, near)
        places[places == len(self._sorted)] = 0
        self._found[places[self._sorted[places] == near]] = True

    def marked(self) -> np.ndarray:
        """The rows with a gram that a training text has."""
        return self._owners[self._found[self._places]]


def _words(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all W words in the texts: their hashes, which text they stand in, and how many are left of it, (W,) each."""
    by_text = [_WORD.findall(text.lower()) for text in texts]
    sizes = np.array([len(words) for words in by_text], dtype=np.int64)
    hashes = np.fromiter(map(hash, chain.from_iterable(by_text)), np.int64, sizes.sum()).view(np.uint64)
    text = np.repeat(np.arange(len(texts)), sizes)
    return hashes, text, np.cumsum(sizes)[text] - np.arange(len(hashes))


def _grams(words: np.ndarray, left: np.ndarray, n: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """For m = 1 to n: m, the hash of each m words in a row, and whether all m stand in one text, (W - m + 1,) both."""
    grams = words
    for m in range(1, n + 1):
        yield m, grams, left[: len(grams)] >= m
        grams = grams[:-1] * _FACTOR + words[m:]
