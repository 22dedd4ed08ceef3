"""Drawn rows to one padded batch of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multigraft.batching.encode import Encoded


@dataclass(frozen=True)
class Batch:
    """B rows, S sequences (S = B unless options come with the row), padded to T tokens.

    `experts` are the distinct experts of the batch; `local`: S, the position of each sequence's expert among
    them, or None when there is one.
    """

    input_ids: Tensor  # S T, int64
    attention_mask: Tensor  # S T, int64: 1 where a token is
    token_type_ids: Tensor | None  # S T, int64
    experts: tuple[int, ...]
    local: Tensor | None  # S, int64
    row: Tensor | None  # S, int64: the row of each sequence; None when S = B
    slot: Tensor | None  # S, int64: which option of its row the sequence holds, 0 where options are fixed
    by_row: Tensor | None  # S, bool: do the options come with the row
    task: Tensor  # B, int64: the expert of each row
    choices: Tensor  # B, int64: options of each row; 0 where the answer is a number
    target_class: Tensor  # B, int64
    target_number: Tensor  # B, float32

    @property
    def reads(self) -> dict[str, Tensor]:
        """What an encoder reads, as it takes it: S T each."""
        types = {} if self.token_type_ids is None else {"token_type_ids": self.token_type_ids}
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask, **types}

    @property
    def order(self) -> Tensor:
        """B, int64: the rows in the order in which their sequences come."""
        return torch.arange(len(self.task))

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True) for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def pad(sequences: Sequence[np.ndarray], value: int) -> Tensor:
    """S T, int64: the sequences with `value` behind them up to the longest."""
    longest = max(len(sequence) for sequence in sequences)
    padded = np.full((len(sequences), longest), value, dtype=np.int64)
    for position, sequence in enumerate(sequences):
        padded[position, : len(sequence)] = sequence
    return torch.from_numpy(padded)


def collate(
    data: Sequence[Encoded], tasks: Sequence[int] | np.ndarray, rows: Sequence[int] | np.ndarray, pad_id: int
) -> Batch:
    """The batch of `rows[b]` of `data[tasks[b]]`; the expert of a row is its task."""
    tasks, rows = np.asarray(tasks), np.asarray(rows)
    owner: list[int] = []
    picked: list[tuple[int, int]] = []
    slots: list[int] = []
    for b, (task, row) in enumerate(zip(tasks, rows, strict=True)):
        first = data[task].first
        for slot, sequence in enumerate(range(first[row], first[row + 1])):
            owner.append(b)
            slots.append(slot)
            picked.append((int(task), sequence))
    ids = [data[t].ids[data[t].starts[s] : data[t].starts[s + 1]] for t, s in picked]
    padded = pad(ids, pad_id)
    lengths = torch.tensor([len(sequence) for sequence in ids])
    experts, local = np.unique(tasks, return_inverse=True)
    by_row = [data[task].by_row for task in tasks]
    plain = not any(by_row)
    return Batch(
        input_ids=padded,
        attention_mask=(torch.arange(padded.shape[1]) < lengths[:, None]).long(),
        token_type_ids=_types(data, picked),
        experts=tuple(experts.tolist()),
        local=torch.from_numpy(local[owner]) if len(experts) > 1 else None,
        row=None if plain else torch.tensor(owner),
        slot=None if plain else torch.tensor(slots),
        by_row=None if plain else torch.tensor([by_row[b] for b in owner]),
        task=torch.from_numpy(tasks.astype(np.int64)),
        choices=_column(data, tasks, rows, "choices"),
        target_class=_column(data, tasks, rows, "target_class"),
        target_number=_column(data, tasks, rows, "target_number"),
    )


def _column(data: Sequence[Encoded], tasks: np.ndarray, rows: np.ndarray, name: str) -> Tensor:
    return torch.from_numpy(np.array([getattr(data[t], name)[r] for t, r in zip(tasks, rows, strict=True)]))


def _types(data: Sequence[Encoded], picked: Sequence[tuple[int, int]]) -> Tensor | None:
    sequences = []
    for task, s in picked:
        types = data[task].types
        if types is None:
            return None
        sequences.append(types[data[task].starts[s] : data[task].starts[s + 1]])
    return pad(sequences, 0)
