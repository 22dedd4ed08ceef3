"""Positions in front of the text: what soft prompts, prompt encoders and prefixes have in common."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from multigraft.backbones.load import Backbone
from multigraft.errors import UserError
from multigraft.methods.base import Method
from multigraft.methods.stack import Weights


class PromptMethod(Method):
    """A method that puts P positions in front of a row, which all tokens behind them see as they see a token.

    They come before everything, [CLS] or a start token too, and count as positions 0 to P - 1, as in the papers. What
    leaves the backbone is the text's alone: heads read its [CLS] or its mean, losses its targets.
    """

    identity: ClassVar[bool] = False
    free: ClassVar[frozenset[str]] = frozenset({"length"})

    length: int = Field(100, gt=0, description="P, positions in front of the text")

    @property
    def positions(self) -> int:
        return self.length

    def first_layer(self, backbone: Backbone) -> int:
        return 0

    def stacks(self, backbone: Backbone) -> tuple[int, ...]:
        """The stacks of layers that get the positions: the first, which is the encoder or a decoder alone."""
        return (0,)

    @abstractmethod
    def vectors(self, weights: Weights) -> Tensor | None:
        """What the positions hold, in place of word embeddings: P E or B P E. None where it does not matter."""


class Front:
    """Puts the prompts of a batch in front of what a backbone's stacks are given, and takes them off the result.

    A row of T tokens becomes one of P + T positions, P that of the longest prompt in the batch: what a shorter prompt
    leaves free, which is masked, then the prompt, then the row as it came. Positions are counted from the beginning of
    the prompt. A decoder's cache keeps the prompt, so what follows only has its mask and positions shifted.
    """

    def __init__(self, method: PromptMethod) -> None:
        self.method = method
        self.width = 0  # P in the present block; 0 outside
        self.inside = False  # has the stack that runs at present the prompt before it, not in its cache?
        self._tokens = 0  # T of that stack
        self._told: Tensor | None = None  # positions for a table of them

    def hooks(self, backbone: Backbone) -> list[RemovableHandle]:
        """Put the hooks on a backbone."""
        self._backbone = backbone
        self._stacks = self.method.stacks(backbone)
        last = len(backbone.family.stacks) - 1
        handles = []
        for stack in range(min(self._stacks), last + 1):
            reader = backbone.reader(stack)
            enter = partial(self._enter, stack, tuple(inspect.signature(reader.forward).parameters))
            handles.append(reader.register_forward_pre_hook(enter, with_kwargs=True))
            if backbone.family.position_table is not None:
                table = reader.get_submodule(backbone.family.position_table)
                handles.append(table.register_forward_hook(self._position))
            if stack == last:  # a decoder attends to the prompt in an encoder's result
                handles.append(reader.register_forward_hook(self._leave))
        return handles

    def begin(self, weights: Weights, lengths: Sequence[int], local: Tensor | None) -> None:
        """A block begins whose distinct experts have prompts of these lengths; arguments as of `Stack.select`."""
        self._weights, self.width = weights, max(lengths)
        self._lengths = None if local is None or min(lengths) == self.width else local.new_tensor(lengths)[local]

    def end(self) -> None:
        """The block ends."""
        self.width, self.inside, self._told = 0, False, None

    def _enter(
        self,
        stack: int,
        accepted: tuple[str, ...],
        reader: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if not self.width:
            return None
        given = {**dict(zip(accepted, args, strict=False)), **kwargs}
        self.inside, self._told = False, None
        states = given.get("encoder_hidden_states")
        if stack and 0 in self._stacks and states is not None:
            mask = given.get("encoder_attention_mask")
            given["encoder_attention_mask"] = self._shown(mask, states.shape[0], states.shape[1] - self.width)
        if stack in self._stacks:
            self._insert(
                reader, given, tells="position_ids" in accepted, causal=self._backbone.family.stacks[stack].causal
            )
        return (), given

    def _insert(self, reader: nn.Module, given: dict[str, Any], *, tells: bool, causal: bool) -> None:
        """Change what a reader is `given`."""
        ids, embedded = given.pop("input_ids", None), given.pop("inputs_embeds", None)
        embedded = reader.get_input_embeddings()(ids) if embedded is None else embedded  # type: ignore[operator]
        rows, self._tokens = embedded.shape[:2]
        cache = given.get("past_key_values")
        past = 0 if cache is None else int(cache.get_seq_length())
        self.inside = past == 0
        self._check_room(past)
        seen = self._tokens + (0 if self.inside else past - self.width)
        mask = given["attention_mask"] = self._shown(given.get("attention_mask"), rows, seen)
        told = self._counted(rows, mask, given.pop("position_ids", None), causal)
        if tells:
            given["position_ids"] = told
        else:
            self._told = told
        types = given.get("token_type_ids")
        if types is not None and self.inside:
            given["token_type_ids"] = F.pad(types, (self.width, 0))
        if self.inside:
            embedded = torch.cat([self._vectors(embedded), embedded], dim=1)
        given["inputs_embeds"] = embedded

    def _check_room(self, past: int) -> None:
        most, taken = self._backbone.max_length, self._tokens + (past or self.width)
        if taken > most:
            raise UserError(
                f"a prompt of {self.width} and a text of {taken - self.width} tokens do not fit in the {most} "
                f"positions of {self._backbone.name}",
                fix=f"cut texts at {most - self.width} tokens, or take a shorter prompt",
            )

    def _vectors(self, embedded: Tensor) -> Tensor:
        """What the positions of every row hold: B P E."""
        rows, _, width = embedded.shape
        with torch.autocast(embedded.device.type, enabled=False):  # word embeddings are not rounded either
            vectors = self.method.vectors(self._weights.for_rows(rows))
        if vectors is None:
            return embedded.new_zeros(rows, self.width, width)
        return vectors[..., -self.width :, :].expand(rows, -1, -1).to(embedded.dtype)

    def _free(self, rows: int) -> Tensor | None:
        """How many of the P positions each row's prompt leaves free: B 1; None where none does."""
        if self._lengths is None:
            return None
        return (self.width - self._lengths).repeat_interleave(rows // len(self._lengths))[:, None]

    def _shown(self, mask: Tensor | None, rows: int, seen: int) -> Tensor | None:
        """A mask B T with the prompts in front, B P + T; None where everything is seen. seen: T, with what is past."""
        free = self._free(rows)
        if mask is None:
            if free is None:
                return None
            mask = free.new_ones(rows, seen)
        if mask.dim() != 2:
            raise UserError("a prompt in front of a row of several texts", fix="say packing: false")
        front = mask.new_ones(rows, self.width)
        if free is not None:
            front = (torch.arange(self.width, device=mask.device) >= free).to(mask.dtype)
        return torch.cat([front, mask], dim=1)

    def _counted(self, rows: int, mask: Tensor | None, told: Tensor | None, causal: bool) -> Tensor | None:
        """The positions of the prompts and the text, B P + T, of which the backbone told the text's or none.

        None where the backbone's own count is right: from 0, when nothing is free and no padding stands before a text.
        """
        free, first = self._free(rows), self._backbone.first_position
        if told is None and (mask is None or (free is None and not causal)):
            return None
        if told is not None:
            told = told + (self.width if free is None else self.width - free)
        else:
            assert mask is not None
            told = first + (mask.long().cumsum(1) - 1).clamp(min=0)[:, -self._tokens :]
        if not self.inside:
            return told
        front = torch.arange(self.width, device=told.device).expand(rows, -1)
        front = first + (front if free is None else (front - free).clamp(min=0))
        return torch.cat([front, told.expand(rows, -1)], dim=1)

    def _position(self, table: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        if not self.width or self._told is None:
            return None
        return F.embedding(self._told + table.offset, table.weight)  # type: ignore[operator,arg-type]

    def _leave(self, reader: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self.width and self.inside:
            # What was narrowed to the text's first token has no prompt any more.
            output.last_hidden_state = output.last_hidden_state[:, -self._tokens :]
