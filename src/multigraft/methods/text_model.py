"""The text model: a text-to-text backbone with a bank on it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigraft.backbones.load import Backbone
from multigraft.batching.text import TextFormat
from multigraft.batching.text_collate import TextBatch, isolation, positions
from multigraft.errors import UserError
from multigraft.methods.attention import plain_attention
from multigraft.methods.bank import Bank
from multigraft.methods.stack import Stack


class TextModel(nn.Module):
    """N experts on one text-to-text backbone, which is tuned with them or frozen under them."""

    def __init__(self, backbone: Backbone, bank: Bank, *, tuned: bool) -> None:
        super().__init__()
        self.backbone, self.bank, self.tuned = backbone, bank, tuned
        self.language_model: Any = backbone.model
        self.language_model.requires_grad_(tuned)

    @property
    def names(self) -> list[str]:
        """The experts, in order."""
        return self.bank.stack.names

    @property
    def whole(self) -> bool:
        """Do all experts learn together: is the backbone trained with them?"""
        return self.tuned

    @property
    def prompt(self) -> int:
        """Positions in front of a text, at most."""
        return self.bank.positions

    def drawn(self, part: str, experts: Sequence[int]) -> Sequence[int]:
        """The rows of a stack that the `experts` of a batch use: their own."""
        return experts

    @property
    def stacks(self) -> dict[str, Stack]:
        """What each expert has of its own: its module."""
        return {"bank": self.bank.stack}

    def shared(self) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters of what all experts use: the backbone."""
        return [(f"language_model.{name}", p) for name, p in self.language_model.named_parameters()]

    def parameters_of(self, name: str) -> int:
        """Number of parameters that belong to one expert alone."""
        return self.bank.stack.size(name)

    def shared_parameters(self) -> int:
        """Number of parameters that all experts use."""
        return sum(parameter.numel() for _, parameter in self.shared())

    def fingerprint(self, expert: int) -> str:
        """SHA-256 of all weights that one expert answers with, and of its method."""
        state = hashlib.sha256(self.backbone.weights_fingerprint().encode())
        state.update(f"{self.bank.method.name} {self.bank.method.model_dump_json()}".encode())
        for name, tensor in sorted(self.bank.stack.expert(self.names[expert]).items()):
            state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            state.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return state.hexdigest()

    def train(self, mode: bool = True) -> TextModel:
        """Switch dropout on or off; a frozen backbone stays without, so that it is one function for all experts."""
        super().train(mode)
        if not self.tuned:
            self.language_model.eval()
        return self

    def rows(self, experts: Sequence[int], local: Tensor | None, mask: Tensor):  # type: ignore[no-untyped-def]
        """The bank's block for the rows of a batch, as `Bank.rows`; nothing where experts have no parameters."""
        return self.bank.rows(experts, local, mask) if self.bank.stack.width else nullcontext()

    def forward(self, batch: TextBatch) -> Tensor:
        """Log-probability of every target token: K, float32.

        The language model head runs at the K positions that predict one, not at all of them.
        """
        if batch.packed:
            self.check_packing(batch.ids.shape[1])
        longest = max(batch.ids.shape[1], 0 if batch.source is None else batch.source.shape[1])
        with (
            plain_attention(self.language_model, len(batch.ids), longest + self.prompt),
            self.predicting(batch.place),
        ):
            logits = self._encoder_decoder(batch) if batch.source is not None else self._decoder(batch)
        return -F.cross_entropy(logits[0].float(), batch.target, reduction="none")

    def check_lengths(self, form: TextFormat) -> None:
        """Raises UserError when inputs and targets of the form leave no room for the method's own positions."""
        together = form.kind == "decoder"
        longest = form.max_input + form.max_target if together else max(form.max_input, form.max_target)
        self.bank.method.check(self.backbone, longest)

    def check_packing(self, length: int) -> None:
        """Raises UserError when the model cannot keep apart several texts in a row of `length` tokens."""
        if self.bank.method.positions:
            what = f"{self.bank.method.name} has one prompt for a row, which packed texts would share"
            raise UserError(what, fix="say packing: false")
        window = getattr(self.backbone.config, "sliding_window", None)
        if not self.backbone.family.packs or (window is not None and window < length):
            why = "its positions cannot be told" if window is None else f"it sees {window} tokens back"
            raise UserError(f"{self.backbone.name} cannot keep packed texts apart: {why}", fix="say packing: false")

    def _encoder_decoder(self, batch: TextBatch) -> Tensor:
        assert batch.source is not None
        assert batch.source_block is not None
        between = isolation(batch.block, batch.source_block, causal=False)
        if batch.packed:
            own = isolation(batch.source_block, batch.source_block, causal=False)
            mask, cross = self._bias(own), self._bias(between)
            decoder = {"decoder_attention_mask": self._bias(isolation(batch.block, batch.block, causal=True))}
        else:
            mask = own = cross = (batch.source_block > 0).long()
            decoder = {"decoder_attention_mask": (batch.block > 0).long()}
        if self.backbone.family.tells_positions:
            encoder_positions = {"position_ids": positions(batch.source_block)}
            decoder["decoder_position_ids"] = positions(batch.block)
        else:
            encoder_positions = {}
        with self.rows(batch.experts, batch.local, own):
            states = self.language_model.get_encoder()(
                input_ids=batch.source, attention_mask=mask, return_dict=True, **encoder_positions
            )
            return self.language_model(  # type: ignore[no-any-return]
                encoder_outputs=states, attention_mask=cross, decoder_input_ids=batch.ids, use_cache=False, **decoder
            ).logits

    def _decoder(self, batch: TextBatch) -> Tensor:
        visible = (batch.block > 0).long()
        mask = self._bias(isolation(batch.block, batch.block, causal=True)) if batch.packed else visible
        with self.rows(batch.experts, batch.local, visible):
            return self.language_model(  # type: ignore[no-any-return]
                input_ids=batch.ids, attention_mask=mask, position_ids=positions(batch.block), use_cache=False
            ).logits

    def _bias(self, seen: Tensor) -> Tensor:
        """A mask as the model's attention takes it: bool for SDPA, else what is added to the scores."""
        if self.backbone.config._attn_implementation == "sdpa":
            return seen
        return torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, torch.finfo(torch.float32).min)

    @contextmanager
    def predicting(self, place: Tensor) -> Iterator[None]:
        """Within the block the language model head reads the hidden states at `place` only: 1 K D."""

        def gather(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (args[0].flatten(0, 1).index_select(0, place)[None], *args[1:])

        handle = self.language_model.get_output_embeddings().register_forward_pre_hook(gather)
        try:
            yield
        finally:
            handle.remove()
