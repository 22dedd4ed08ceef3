"""Heads that read the first token only: the last feed-forward need not run for the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.methods.base import Method


def first_token_suffices(backbone: Backbone, method: Method) -> bool:
    """May the last feed-forward run for the first token alone? Not when modules on top read the others."""
    on_top = any(place.write.kind == "final" for place in method.places(backbone))
    return backbone.family.post_norm and not on_top


@contextmanager
def first_token_only(backbone: Backbone) -> Iterator[None]:
    """Within the block, the last hidden state has the first token only: B 1 D.

    The others are left out where the last layer's feed-forward begins; its attention still sees them all.
    """
    port = backbone.port(Site("ffn_input", backbone.depth - 1))
    handle = port.hook(lambda value: value[:, :1])  # after the bank's hooks, so that a module may read all tokens
    try:
        yield
    finally:
        handle.remove()
