"""Heads that read the first token only: the end of the last layer need not run for the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.methods.base import Method


def last_crossing(backbone: Backbone, method: Method) -> Site | None:
    """Behind which site of the last layer no token needs another one any more.

    `attention_output` where the family names what joins there, else `ffn_input`; that one too where a module
    reads it, since it may be an attention. None where a module on top reads all tokens, and in pre-norm backbones.
    """
    places = method.places(backbone)
    if not backbone.family.post_norm or any(place.write.kind == "final" for place in places):
        return None
    late = Site("ffn_input", backbone.depth - 1)
    if backbone.family.attention_join is None or any(place.read == late for place in places):
        return late
    return Site("attention_output", backbone.depth - 1)


@contextmanager
def first_token_only(backbone: Backbone, crossing: Site, at: int = 0) -> Iterator[None]:
    """Within the block, what lies behind the `crossing` has the first token only: the last hidden state is B 1 D.

    at: its place in the row, behind a prompt.
    """

    def first(value: Tensor) -> Tensor:
        return value[:, at : at + 1].contiguous()  # PyTorch's linear maps are slow on a slice

    def first_of_all(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> Any:
        return tuple(map(first, args)), {key: first(value) for key, value in kwargs.items()}

    if crossing.kind == "attention_output":
        join = backbone.layer(backbone.depth - 1).get_submodule(backbone.family.attention_join or "")
        handle = join.register_forward_pre_hook(first_of_all, with_kwargs=True)
    else:
        # After the bank's hooks, so that modules which read here see all tokens.
        handle = backbone.port(crossing).hook(first)
    try:
        yield
    finally:
        handle.remove()
