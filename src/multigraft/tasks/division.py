"""Dividing the rows of one file into splits: no row, or its like, in two of them, and the same labels in all."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

MOST_ALIKE = 0.1  # share of the rows: what is repeated more often would fill a small split

_WORD = re.compile(r"\w+")


def likeness(texts: Sequence[str]) -> str:
    """A key that rows share when their texts differ in case, punctuation, white space or order only."""
    return "\n".join(sorted(" ".join(_WORD.findall(text.casefold())) or text.strip() for text in texts))


def divide(keys: Sequence[str], labels: Sequence[str], shares: Mapping[str, float]) -> list[str]:
    """The split of each of `n` rows, given their keys and labels: a function of the rows, not of their order.

    `shares` has the share of the rows by split, summing to 1. Rows with the same key stay together. The first split
    has every label and what is repeated very often; beyond that each label is shared out evenly, groups counting once.
    """
    groups: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    names = {key: {labels[row] for row in rows} for key, rows in groups.items()}
    frequency = Counter(label for found in names.values() for label in found)

    def place(key: str) -> tuple[int, str, bytes]:
        # A group of several labels counts for the rarest. Within a label the order is a hash: as good as drawn.
        count, label = min((frequency[label], label) for label in names[key])
        return count, label, hashlib.blake2b(key.encode("utf-8", "replace")).digest()

    first = next(iter(shares))
    placed = Counter[str]()
    known: set[str] = set()
    splits = [first] * len(keys)
    for seen, key in enumerate(sorted(groups, key=place), start=1):
        # Each group goes where most are due, so that the shares hold at every point of the order.
        split = max(shares, key=lambda name: shares[name] * seen - placed[name])
        if not names[key] <= known or len(groups[key]) > MOST_ALIKE * len(keys):
            split = first
        if split == first:
            known |= names[key]
        placed[split] += 1
        for row in groups[key]:
            splits[row] = split
    return splits
