"""What a run learns from: batches of drawn rows, and the loss of each row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from multigraft.batching.collate import Batch, collate
from multigraft.batching.encode import NO_CLASS, Encoded
from multigraft.batching.pack import pack
from multigraft.batching.text import TextEncoded, TextFormat
from multigraft.batching.text_collate import TextBatch, collate_text

Weighting = Literal["token", "example"]


class Rows(Protocol):
    """The encoded training rows of one task, as the loop and its ledger see them: n of them."""

    def __len__(self) -> int: ...

    @property
    def lengths(self) -> np.ndarray:
        """int64, n: tokens of each row's longest sequence."""

    @property
    def tokens(self) -> np.ndarray:
        """int64, n: tokens of each row."""

    @property
    def truncated(self) -> np.ndarray:
        """bool, n: was something cut."""


class Objective(ABC):
    """The rows of every task, in order, and what is learned from a draw of them."""

    data: Sequence[Rows]

    @abstractmethod
    def collate(self, tasks: np.ndarray, rows: np.ndarray) -> Any:
        """The batch of the rows `rows[b]` of task `tasks[b]`, with a method `to(device)`."""

    @abstractmethod
    def losses(self, outputs: Tensor, batch: Any) -> Tensor:
        """Loss of each row from what the model gave for the batch: B, float32."""

    @abstractmethod
    def positions(self, tasks: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Positions, with padding, that each row of a batch takes: B."""

    @abstractmethod
    def reads(self, tasks: np.ndarray, rows: np.ndarray) -> dict[str, Tensor]:
        """What the backbone's first stack of layers reads of the rows, no two in one: ids and masks S T."""

    @abstractmethod
    def read_tokens(self, tasks: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Tokens that it reads of each row: B, int64."""

    def parts(self, tasks: np.ndarray, rows: np.ndarray, limit: int, prompt: int) -> list[np.ndarray]:
        """A step's rows in parts that take at most `limit` positions each, or one row: indexes into the B rows.

        Rows of like lengths come together, so that little is padded. A row has `prompt` positions in front of it.
        """
        taken = np.array([self.positions(tasks[b : b + 1], rows[b : b + 1])[0] for b in range(len(rows))]) + prompt
        order = np.argsort(taken, kind="stable")
        if len(rows) * taken[order[-1]] <= limit:
            return [np.arange(len(rows))]
        parts: list[list[int]] = [[]]
        for b in order:
            if parts[-1] and (len(parts[-1]) + 1) * taken[b] > limit:
                parts.append([])
            parts[-1].append(int(b))
        return [np.array(part) for part in parts]

    def weights(self, tasks: np.ndarray, rows: np.ndarray, independent: bool) -> np.ndarray:
        """Weight of each row in the loss of a step: B, float32."""
        return row_weights(tasks, independent)

    def experts(self, tasks: np.ndarray) -> list[int]:
        """The experts that a step on rows of these tasks trains."""
        return np.unique(tasks).tolist()


class HeadObjective(Objective):
    """Classes and numbers, answered by heads."""

    def __init__(self, data: Sequence[Encoded], pad_id: int) -> None:
        self.data: Sequence[Encoded] = data
        self.pad_id = pad_id

    def collate(self, tasks: np.ndarray, rows: np.ndarray) -> Batch:
        return collate(self.data, tasks, rows, self.pad_id)

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        return row_losses(outputs.float(), batch)

    def positions(self, tasks: np.ndarray, rows: np.ndarray) -> np.ndarray:
        longest = max(self.data[t].lengths[r] for t, r in zip(tasks, rows, strict=True))
        return longest * np.array([self.data[t].sequences[r] for t, r in zip(tasks, rows, strict=True)])

    def reads(self, tasks: np.ndarray, rows: np.ndarray) -> dict[str, Tensor]:
        return self.collate(tasks, rows).reads

    def read_tokens(self, tasks: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.array([self.data[t].tokens[r] for t, r in zip(tasks, rows, strict=True)], dtype=np.int64)


class TextObjective(Objective):
    """Texts, written by a language model.

    weighting: what counts the same in a step, every target token or every example. packing: tokens in a row of the
    batch that several examples share, or None for one example a row. together: one expert for all tasks.
    """

    def __init__(
        self,
        data: Sequence[TextEncoded],
        form: TextFormat,
        *,
        weighting: Weighting,
        packing: int | None,
        together: bool,
    ) -> None:
        self.data: Sequence[TextEncoded] = data
        self.form, self.weighting, self.packing, self.together = form, weighting, packing, together

    def collate(self, tasks: np.ndarray, rows: np.ndarray) -> TextBatch:
        experts = np.zeros(len(tasks), dtype=np.int64) if self.together else tasks
        return collate_text(self.data, tasks, rows, self.form, experts.tolist(), self._packs(tasks, rows))

    def losses(self, outputs: Tensor, batch: TextBatch) -> Tensor:
        sums = torch.zeros(batch.examples, device=outputs.device).index_add(0, batch.owner, -outputs)
        return sums / torch.bincount(batch.owner, minlength=batch.examples)

    def positions(self, tasks: np.ndarray, rows: np.ndarray) -> np.ndarray:
        lengths = self._lengths(tasks, rows)
        packs = self._packs(tasks, rows) or [[e] for e in range(len(rows))]
        width = np.max([lengths[pack].sum(axis=0) for pack in packs], axis=0).sum()
        return np.full(len(tasks), len(packs) * width / len(tasks))

    def reads(self, tasks: np.ndarray, rows: np.ndarray) -> dict[str, Tensor]:
        return collate_text(self.data, tasks, rows, self.form).reads

    def read_tokens(self, tasks: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return self._lengths(tasks, rows)[:, 0]

    def weights(self, tasks: np.ndarray, rows: np.ndarray, independent: bool) -> np.ndarray:
        groups = np.zeros_like(tasks) if self.together else tasks
        if self.weighting == "example":
            return row_weights(groups, independent)
        lengths = np.array([self.data[t].target_lengths[r] for t, r in zip(tasks, rows, strict=True)], dtype=np.float64)
        totals = np.bincount(groups, lengths)[groups] if independent else lengths.sum()
        return (lengths / totals).astype(np.float32)

    def experts(self, tasks: np.ndarray) -> list[int]:
        return [0] if self.together else super().experts(tasks)

    def _packs(self, tasks: np.ndarray, rows: np.ndarray) -> list[list[int]] | None:
        if self.packing is None:
            return None
        lengths = self._lengths(tasks, rows)
        groups = [np.arange(len(tasks))] if self.together else [np.flatnonzero(tasks == t) for t in set(tasks)]
        return [group[row].tolist() for group in groups for row in pack(lengths[group], self.packing)]

    def _lengths(self, tasks: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Tokens of each row in every sequence that a batch has of it: B K, int64."""
        inputs, targets = (
            np.array([getattr(self.data[t], name)[r] for t, r in zip(tasks, rows, strict=True)])
            for name in ("input_lengths", "target_lengths")
        )
        # A decoder reads input and target in one row, without the last token, which predicts nothing.
        parts = [inputs, targets] if self.form.kind == "encoder_decoder" else [inputs + targets - 1]
        return np.stack(parts, axis=1)


def row_losses(scores: Tensor, batch: Batch) -> Tensor:
    """Loss of each row: B; cross-entropy over its options, or the squared error of its scaled number."""
    classes = F.cross_entropy(scores, batch.target_class, ignore_index=NO_CLASS, reduction="none")
    numbers = F.mse_loss(scores[:, 0], batch.target_number, reduction="none")
    return torch.where(batch.target_class == NO_CLASS, numbers, classes)


def row_weights(tasks: np.ndarray, independent: bool) -> np.ndarray:
    """Weight of each row in the loss: B, float32.

    A tuned backbone minimises the mean over the rows. Independent experts minimise the mean over their own
    rows, so that an expert's gradient is the one it gets alone.
    """
    if not independent:
        return np.full(len(tasks), 1 / len(tasks), dtype=np.float32)
    return (1 / np.bincount(tasks)[tasks]).astype(np.float32)
