"""The bank: N experts of one method on one backbone. Every row of a batch names its expert."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.methods.base import Context, Method, Place
from multigraft.methods.front import Front, PromptMethod
from multigraft.methods.stack import Stack, Weights


class Bank(nn.Module):
    """Parameters of N experts and the hooks through which they act; the backbone's code and weights stay untouched.

    Outside `rows(...)` an attached bank does nothing; after `detach()` no trace of it is left on the backbone.
    """

    def __init__(self, method: Method, backbone: Backbone, names: Sequence[str], *, seed: int = 0) -> None:
        super().__init__()
        method.check(backbone)
        self.method = method
        self.stack = Stack(method.specs(backbone), names, seed)
        self._places = method.places(backbone)
        self._handles: list[RemovableHandle] = []
        self._weights: Weights | None = None
        self._wide: tuple[int, Weights] | None = None  # the weights for as many rows as the backbone has at present
        self._context = Context(None, False)
        self._front = Front(method) if isinstance(method, PromptMethod) else None
        self._read: dict[Site, Tensor] = {}
        self._written: set[Site] = set()
        self.attach(backbone)

    def attach(self, backbone: Backbone) -> None:
        """Put the method's hooks on the backbone."""
        self.detach()
        for site in dict.fromkeys(place.read for place in self._places if place.read is not None):
            self._handles.append(backbone.port(site).hook(self._reader(site)))
        for place in self._places:
            self._handles.append(backbone.port(place.write).hook(self._writer(place)))
        self._handles.append(backbone.model.register_forward_pre_hook(self._begin))
        if self._front is not None:
            self._handles += self._front.hooks(backbone)

    def detach(self) -> None:
        """Take all hooks off."""
        while self._handles:
            self._handles.pop().remove()

    def _begin(self, _: nn.Module, args: tuple[Any, ...]) -> None:
        """A forward of the backbone begins: what the one before it passed is forgotten."""
        self._read.clear()
        self._written.clear()

    def _reader(self, site: Site):  # type: ignore[no-untyped-def]
        def keep(value: Tensor) -> None:
            if self._weights is not None and site not in self._read:
                self._read[site] = value

        return keep

    def _writer(self, place: Place):  # type: ignore[no-untyped-def]
        def change(value: Tensor) -> Tensor | None:
            # Once per forward: DeBERTa sends its position embeddings, which belong to no row, through the
            # same maps after the hidden states.
            if self._weights is None or place.write in self._written:
                return None
            self._written.add(place.write)
            source = value if place.read is None else self._read[place.read]
            if len(source) < len(value):  # rows were repeated between the two sites, copy by copy
                source = source.repeat(len(value) // len(source), 1, 1)
            # Beams of a generation come as more rows than were announced.
            if self._wide is None or self._wide[0] != len(value):
                self._wide = len(value), self._weights.for_rows(len(value))
            # Under autocast a float32 parameter would lift the backbone's bfloat16 from here on.
            return place.change(self._wide[1], value, source, self._context).to(value.dtype)

        return change

    @contextmanager
    def rows(self, experts: Sequence[int], local: Tensor | None, mask: Tensor) -> Iterator[None]:
        """Within the block, row b of the backbone's batch is changed by expert `experts[local[b]]`.

        `local`: B, None when there is one expert only; `mask`: B T, 1 where a token is, 0 where padding is; or
        B 1 T T, 1 where a token sees another. Rows that come several times, as beams do, are counted once.
        """
        visible = mask.bool() if mask.dim() == 4 else mask.bool()[:, None, None, :]
        self._context = Context(None if bool(mask.all()) else visible, self.training, self._front)
        self._weights = self.stack.select(experts, local)
        if self._front is not None:
            self._front.begin(
                self._weights, [self.stack.lengths[expert] or self.method.positions for expert in experts], local
            )
        try:
            yield
        finally:
            self._weights = self._wide = None
            if self._front is not None:
                self._front.end()
            self._read.clear()
            self._written.clear()

    @property
    def positions(self) -> int:
        """Positions in front of a text that the longest expert takes."""
        return max(self.stack.longest, self.method.positions)

    @property
    def prompt_width(self) -> int:
        """Positions in front of the text in the present block; 0 outside it, and where the method has none."""
        return 0 if self._front is None else self._front.width

    def extra_repr(self) -> str:
        return f"{self.method.name}, {len(self.stack.names)} experts of {self.stack.width} parameters"


def one_expert(index: int) -> tuple[list[int], None]:
    """Arguments for `Bank.rows` and `Stack.select` when all rows use one expert."""
    return [index], None


def mixed_experts(expert: Tensor) -> tuple[list[int], Tensor | None]:
    """Arguments for `Bank.rows` and `Stack.select` from `expert`: B, the expert of every row."""
    experts, local = torch.unique(expert, return_inverse=True)
    return experts.tolist(), local if len(experts) > 1 else None
