"""Inputs with their targets to one batch of tensors, padded or packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multigraft.batching.collate import pad
from multigraft.batching.text import TextEncoded, TextFormat


@dataclass(frozen=True)
class TextBatch:
    """E examples in B rows; B = E unless several are packed into a row. The targets have K tokens in all.

    `experts` are the distinct experts of the batch; `local`: B, the position of each row's expert among them, or
    None when there is one. In an encoder-decoder, `source` are the inputs and `ids` what the decoder reads; in a
    decoder `ids` hold inputs and targets. The blocks tell which tokens belong to one example: B T and B U, counted
    from 1 in each row, 0 where padding is.
    """

    source: Tensor | None  # B T, int64
    source_block: Tensor | None  # B T, int64
    ids: Tensor  # B U, int64
    block: Tensor  # B U, int64
    packed: bool
    place: Tensor  # K, int64: u + b U of the position from which each target token is predicted
    target: Tensor  # K, int64
    owner: Tensor  # K, int64: the example of each target token
    experts: tuple[int, ...]
    local: Tensor | None  # B, int64
    examples: int  # E
    order: Tensor  # E, int64: the examples in the order in which their tokens come, row by row

    @property
    def reads(self) -> dict[str, Tensor]:
        """What the first stack of layers reads where nothing is packed, as it takes it: B T each."""
        ids, block = (self.ids, self.block) if self.source is None else (self.source, self.source_block)
        assert block is not None
        return {"input_ids": ids, "attention_mask": (block > 0).long()}

    def to(self, device: torch.device) -> TextBatch:
        """The batch on a device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True) for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def collate_text(
    data: Sequence[TextEncoded],
    tasks: Sequence[int] | np.ndarray,
    rows: Sequence[int] | np.ndarray,
    form: TextFormat,
    experts: Sequence[int] | None = None,
    packs: Sequence[Sequence[int]] | None = None,
) -> TextBatch:
    """The batch of the examples `rows[e]` of `data[tasks[e]]`.

    experts: the expert of each example, by default its task. packs: the examples in each row of the batch, which
    have one expert; by default one in each.
    """
    packs = [[e] for e in range(len(rows))] if packs is None else packs
    inputs = [data[t].input(r) for t, r in zip(tasks, rows, strict=True)]
    targets = [data[t].target(r) for t, r in zip(tasks, rows, strict=True)]
    if form.kind == "encoder_decoder":
        sources = [np.concatenate([inputs[e] for e in pack]) for pack in packs]
        source_blocks = [_blocks([len(inputs[e]) for e in pack]) for pack in packs]
        starts = [np.array([form.start_id])] * len(targets)
    else:
        sources, source_blocks, starts = [], [], inputs
    # The last target token predicts nothing, so no position reads it.
    pieces = [np.concatenate([start, target[:-1]]) for start, target in zip(starts, targets, strict=True)]
    ids = [np.concatenate([pieces[e] for e in pack]) for pack in packs]
    width = max(map(len, ids))
    places, order = [], []
    for b, pack in enumerate(packs):
        end = b * width
        for e in pack:
            end += len(pieces[e])
            places.append(np.arange(end - len(targets[e]), end))
            order.append(e)
    owners = np.array(tasks) if experts is None else np.array(experts)
    distinct, local = np.unique(owners[[pack[0] for pack in packs]], return_inverse=True)
    return TextBatch(
        source=pad(sources, form.pad_id) if sources else None,
        source_block=pad(source_blocks, 0) if sources else None,
        ids=pad(ids, form.pad_id),
        block=pad([_blocks([len(pieces[e]) for e in pack]) for pack in packs], 0),
        packed=any(len(pack) > 1 for pack in packs),
        place=torch.from_numpy(np.concatenate(places)),
        target=torch.from_numpy(np.concatenate([targets[e] for e in order]).astype(np.int64)),
        owner=torch.from_numpy(np.repeat(order, [len(targets[e]) for e in order])),
        experts=tuple(distinct.tolist()),
        local=torch.from_numpy(local) if len(distinct) > 1 else None,
        examples=len(rows),
        order=torch.tensor(order),
    )


def _blocks(lengths: Sequence[int]) -> np.ndarray:
    return np.repeat(np.arange(1, len(lengths) + 1), lengths)


def positions(block: Tensor) -> Tensor:
    """Position of each token in its own example, counted from 0; block: B T, gives B T. Padding has position 0."""
    index = torch.arange(block.shape[1], device=block.device).expand_as(block)
    begins = torch.ones_like(block, dtype=torch.bool)
    begins[:, 1:] = block[:, 1:] != block[:, :-1]
    first = torch.where(begins, index, torch.zeros_like(index)).cummax(dim=1).values
    return (index - first) * (block > 0)


def isolation(reader: Tensor, read: Tensor, *, causal: bool) -> Tensor:
    """Which token sees which: only one of its own example, and with `causal` none behind it.

    reader: B U and read: B T are blocks; gives B 1 U T, bool. Padding sees itself or what is first, so that no
    softmax is empty.
    """
    seen = (reader[:, :, None] == read[:, None, :]) & (read[:, None, :] > 0)
    if causal:
        order = torch.arange(read.shape[1], device=read.device)
        seen &= order[None, :, None] >= order[None, None, :]
    empty = ~seen.any(-1, keepdim=True)
    seen[..., :1] |= empty
    return seen[:, None]
