"""Packing: examples divided over as few rows as they need, so that the rows are about equally long."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Indexes of the examples in each row, for examples of these lengths in tokens.

    As many rows as all tokens fill at `capacity` tokens each; the longest example first, each into the row with
    the most room (longest processing time first; Graham 1969). A row may get a little longer than `capacity`:
    rows of one length pad less than full ones beside a rest.
    """
    if not lengths:
        return []
    rows = [(0, number) for number in range(-(-sum(lengths) // capacity))]
    packs: list[list[int]] = [[] for _ in rows]
    for example in sorted(range(len(lengths)), key=lambda e: -lengths[e]):
        used, number = heapq.heappop(rows)
        packs[number].append(example)
        heapq.heappush(rows, (used + lengths[example], number))
    return [row for row in packs if row]
