"""Packing: examples divided over as few rows as they need, so that the rows are about equally long."""

from __future__ import annotations

import numpy as np


def pack(lengths: np.ndarray, capacity: int) -> list[list[int]]:
    """Indexes of the examples in each row; lengths: E K, the tokens of each example in K sequences.

    A batch pads each of the K sequences to its longest row: an encoder's and a decoder's, or one. As many rows as
    all tokens fill at `capacity` tokens each. The longest example first, each into the row with the most room
    (longest processing time first; Graham 1969); then two examples of different rows change places, those first that
    make the rows most alike, as long as any do. A row may get a little longer than `capacity`: rows of one length pad
    less than full ones beside a rest.
    """
    totals = lengths.sum(axis=1)
    count = -(-int(totals.sum()) // capacity)
    row, used = np.zeros(len(lengths), dtype=np.int64), np.zeros(count, dtype=np.int64)
    for example in np.argsort(-totals, kind="stable"):
        row[example] = used.argmin()
        used[row[example]] += totals[example]
    # E E K: what row of the one example loses and that of the other wins when they change places.
    change = lengths[:, None] - lengths[None]
    while len(lengths):
        sums = np.stack([np.bincount(row, part, count) for part in lengths.T], axis=1)[row]
        # By how much the squares of the rows' lengths fall, halved; within a row by nothing.
        gain = (change * (sums[:, None] - sums[None] - change)).sum(axis=2) * (row[:, None] != row[None])
        one, other = np.unravel_index(gain.argmax(), gain.shape)
        if gain[one, other] <= 0:
            break
        row[[one, other]] = row[[other, one]]
    return [np.flatnonzero(row == number).tolist() for number in range(count) if (row == number).any()]
