"""The joint model: a backbone, a bank on it, and the heads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from multigraft.backbones.load import Backbone
from multigraft.batching.collate import Batch
from multigraft.methods.attention import plain_attention
from multigraft.methods.bank import Bank
from multigraft.methods.fanout import fan_out, fork
from multigraft.methods.first_token import first_token_only, last_crossing
from multigraft.methods.heads import Heads, Pooling, pool
from multigraft.methods.stack import Stack


class JointModel(nn.Module):
    """N tasks on one encoder. The backbone is tuned with the bank and the heads, or frozen under them.

    Every task has an expert of its own, or all share the one of a bank of one.
    """

    def __init__(self, backbone: Backbone, bank: Bank, heads: Heads, *, pooling: Pooling, tuned: bool) -> None:
        super().__init__()
        self.backbone, self.pooling, self.tuned = backbone, pooling, tuned
        self.encoder = backbone.model
        self.bank, self.heads = bank, heads
        self._crossing = last_crossing(backbone, bank.method) if pooling == "first" else None
        self.encoder.requires_grad_(tuned)
        if heads.pooler is not None:
            heads.pooler.requires_grad_(tuned)

    @property
    def names(self) -> list[str]:
        """The tasks, in the order of their experts."""
        return self.heads.stack.names

    @property
    def _one_expert(self) -> bool:
        """Do all tasks share the one expert of the bank?"""
        return len(self.bank.stack.names) == 1 < len(self.names)

    @property
    def whole(self) -> bool:
        """Do all tasks learn together: are the backbone, or one expert, trained for all of them?"""
        return self.tuned or self._one_expert

    @property
    def prompt(self) -> int:
        """Positions in front of a text, at most."""
        return self.bank.positions

    def drawn(self, part: str, experts: Sequence[int]) -> Sequence[int]:
        """The rows of a stack that the tasks of a batch use."""
        return [0] if part == "bank" and self._one_expert else experts

    def train(self, mode: bool = True) -> JointModel:
        """Switch dropout on or off; a frozen backbone stays without, so that it is one function for all tasks."""
        super().train(mode)
        if not self.tuned:
            self.encoder.eval()
        return self

    def forward(self, batch: Batch) -> Tensor:
        """Scores of each row: B C, float32; -inf beyond a row's options, column 0 the scaled number."""
        values = self.values(batch.input_ids, batch.attention_mask, batch.token_type_ids, batch.experts, batch.local)
        return gather_options(values, batch)

    def values(
        self,
        input_ids: Tensor,
        mask: Tensor,
        token_type_ids: Tensor | None,
        experts: Sequence[int],
        local: Tensor | None,
    ) -> Tensor:
        """Values of the heads of S sequences, each by its own expert: S C, float32; ids S T, rest as `Bank.rows`."""
        positions = mask.shape[1] + self.prompt
        with plain_attention(self.encoder, len(mask), positions), self._rows(experts, local, mask):
            hidden = self._read_by_heads(input_ids, mask, token_type_ids)
        return self.heads(pool(hidden, mask, self.pooling), experts, local)

    def _rows(self, experts: Sequence[int], local: Tensor | None, mask: Tensor):  # type: ignore[no-untyped-def]
        if not self.bank.stack.width:
            return nullcontext()
        return self.bank.rows([0], None, mask) if self._one_expert else self.bank.rows(experts, local, mask)

    def encode(self, input_ids: Tensor, mask: Tensor, token_type_ids: Tensor | None) -> Tensor:
        """The last hidden state: ids B T to B T D."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        return self.encoder(input_ids=input_ids, attention_mask=mask, **types).last_hidden_state  # type: ignore[no-any-return]

    def _read_by_heads(self, input_ids: Tensor, mask: Tensor, token_type_ids: Tensor | None) -> Tensor:
        """The last hidden state as far as the heads read it: B T D or B 1 D."""
        crossing, at = self._crossing, self.bank.prompt_width
        with nullcontext() if crossing is None else first_token_only(self.backbone, crossing, at):
            return self.encode(input_ids, mask, token_type_ids)

    def answer_all(
        self, input_ids: Tensor, mask: Tensor, token_type_ids: Tensor | None, experts: Sequence[int]
    ) -> Tensor:
        """Every text answered for several tasks: values of the heads, K B C for K `experts`.

        What lies below the first module runs once for all tasks (arXiv 1902.02671, section 3.2).
        """
        k, b = len(experts), input_ids.shape[0]
        local = torch.arange(k, device=input_ids.device).repeat_interleave(b) if k > 1 else None
        if not self.bank.stack.width:
            pooled = pool(self._read_by_heads(input_ids, mask, token_type_ids), mask, self.pooling).repeat(k, 1)
        else:
            wide, site = mask.repeat(k, 1), fork(self.backbone, self.bank.method)
            with fan_out(self.backbone, site, k, b), self._rows(experts, local, wide):
                if site.kind == "embeddings":
                    types = token_type_ids if token_type_ids is None else token_type_ids.repeat(k, 1)
                    hidden = self._read_by_heads(input_ids.repeat(k, 1), wide, types)
                else:
                    hidden = self._read_by_heads(input_ids, mask, token_type_ids)
            pooled = pool(hidden, wide, self.pooling)
        return self.heads(pooled, experts, local).unflatten(0, (k, b))

    def parameters_of(self, name: str) -> int:
        """Number of parameters that belong to one task alone: its module and its head."""
        return self.bank.stack.size(self.bank.stack.names[0] if self._one_expert else name) + self.heads.size(name)

    @property
    def stacks(self) -> dict[str, Stack]:
        """What each task has of its own: its module and its head."""
        return {"bank": self.bank.stack, "heads": self.heads.stack}

    def shared(self) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters of what all tasks use: the backbone and a shared pooler."""
        named = [(f"encoder.{name}", p) for name, p in self.encoder.named_parameters()]
        if self.heads.pooler is not None:
            named += [(f"pooler.{name}", p) for name, p in self.heads.pooler.named_parameters()]
        return named

    def shared_parameters(self) -> int:
        """Number of parameters that all tasks use."""
        return sum(parameter.numel() for _, parameter in self.shared())


def gather_options(values: Tensor, batch: Batch) -> Tensor:
    """Scores of each row from the values of its sequences: S C to B C', with -inf beyond a row's options."""
    scores = values
    if batch.row is not None and batch.slot is not None and batch.by_row is not None:
        width = max(values.shape[1], int(batch.choices.max()))
        scores = values.new_full((len(batch.task), width), float("-inf"))
        fixed = ~batch.by_row
        scores[batch.row[batch.by_row], batch.slot[batch.by_row]] = values[batch.by_row, 0]
        scores[batch.row[fixed], : values.shape[1]] = values[fixed]
    columns = torch.arange(scores.shape[1], device=scores.device)
    return scores.masked_fill(columns >= batch.choices.clamp(min=1)[:, None], float("-inf"))
