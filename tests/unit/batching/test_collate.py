"""Drawn rows to one padded batch."""

from __future__ import annotations

import numpy as np
import torch

from multigraft.batching.collate import collate, pad
from multigraft.batching.encode import NO_CLASS, Encoded

PAD = 99


def encoded(rows: list[list[list[int]]], *, by_row: bool = False, number: bool = False, types: bool = True) -> Encoded:
    """Rows as lists of sequences of ids."""
    sequences = [sequence for row in rows for sequence in row]
    n = len(rows)
    return Encoded(
        ids=np.array([i for s in sequences for i in s], dtype=np.int32),
        types=np.array([i % 2 for s in sequences for i in s], dtype=np.int8) if types else None,
        starts=np.cumsum([0, *map(len, sequences)]).astype(np.int64),
        first=np.cumsum([0, *map(len, rows)]).astype(np.int64),
        choices=np.array([0 if number else len(row) if by_row else 3 for row in rows], dtype=np.int64),
        target_class=np.array([NO_CLASS if number else i % 2 for i in range(n)], dtype=np.int64),
        target_number=np.array([0.5 if number else 0.0] * n, dtype=np.float32),
        truncated=np.zeros(n, dtype=bool),
        by_row=by_row,
    )


FIXED = encoded([[[1, 2, 3]], [[4]], [[5, 6]]])
NUMBERS = encoded([[[7, 8]], [[9]]], number=True)
OPTIONS = encoded([[[10], [11, 12]], [[13], [14], [15, 16, 17, 18]]], by_row=True)
DATA = [FIXED, NUMBERS, OPTIONS]


def test_padding() -> None:
    padded = pad([np.array([1, 2]), np.array([3])], PAD)
    assert padded.tolist() == [[1, 2], [3, PAD]]
    assert padded.dtype == torch.int64


def test_one_task() -> None:
    batch = collate(DATA, [0, 0], [2, 0], PAD)
    assert batch.input_ids.tolist() == [[5, 6, PAD], [1, 2, 3]]
    assert batch.attention_mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.token_type_ids is not None
    assert batch.token_type_ids.tolist() == [[1, 0, 0], [1, 0, 1]]
    assert batch.experts == (0,)
    assert batch.local is batch.row is batch.slot is batch.by_row is None
    assert batch.task.tolist() == [0, 0]
    assert batch.target_class.tolist() == [0, 0]
    assert batch.target_number.dtype == torch.float32


def test_all_kinds_in_one_batch() -> None:
    batch = collate(DATA, [2, 1, 0, 2], [1, 0, 1, 0], PAD)
    assert batch.experts == (0, 1, 2)
    assert [sequence[0] for sequence in batch.input_ids.tolist()] == [13, 14, 15, 7, 4, 10, 11]
    assert batch.local is not None
    assert batch.local.tolist() == [2, 2, 2, 1, 0, 2, 2]
    assert batch.row is not None
    assert batch.slot is not None
    assert batch.by_row is not None
    assert batch.row.tolist() == [0, 0, 0, 1, 2, 3, 3]
    assert batch.slot.tolist() == [0, 1, 2, 0, 0, 0, 1]
    assert batch.by_row.tolist() == [True, True, True, False, False, True, True]
    assert batch.choices.tolist() == [3, 0, 3, 2]
    assert batch.target_class.tolist() == [1, NO_CLASS, 1, 0]
    assert batch.target_number.tolist() == [0.0, 0.5, 0.0, 0.0]


def test_experts_that_are_not_neighbours() -> None:
    batch = collate(DATA, [2, 0, 0], [0, 0, 1], PAD)
    assert batch.experts == (0, 2)
    assert batch.local is not None
    assert batch.local.tolist() == [1, 1, 0, 0]


def test_without_token_types() -> None:
    assert collate([encoded([[[1]]], types=False)], [0], [0], PAD).token_type_ids is None


def test_moved_to_a_device() -> None:
    batch = collate(DATA, [0, 1], [0, 0], PAD)
    moved = batch.to(torch.device("meta"))
    assert moved.input_ids.is_meta
    assert moved.experts == batch.experts
    assert moved.row is None
