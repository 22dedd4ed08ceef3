"""One text for many tasks: what lies below the first module runs once, then the rows are repeated."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.methods.base import Method

BEHIND_ATTENTION = ("attention_output", "ffn_input", "ffn_output", "layer_sum", "layer")
MAPS_BEHIND_ATTENTION = ("up", "down")


def fork(backbone: Backbone, method: Method) -> Site:
    """Where the rows of different experts part: as late as the method and the family allow.

    `embeddings` and `layer_input[i]`: before that layer; `attention_output[i]`: there, and in the residual that it
    joins; `layer_sum[i]`: before the layer's last norm; `final`: behind the last layer.
    """
    first = method.first_layer(backbone)
    if first == backbone.depth:
        return Site("final")
    writes = [place.write for place in method.places(backbone) if place.write.layer == first]
    if not writes:  # a prompt, which enters below all layers
        return Site("embeddings")
    if backbone.family.closed and all(site.kind in ("layer_sum", "layer") for site in writes):
        return Site("layer_sum", first)
    if backbone.family.attention_join and all(_behind_attention(site) for site in writes):
        return Site("attention_output", first)
    return Site("layer_input", first) if first else Site("embeddings")


def _behind_attention(site: Site) -> bool:
    if site.kind in ("linear", "linear_input"):
        return site.part in MAPS_BEHIND_ATTENTION
    return site.kind in BEHIND_ATTENTION


@contextmanager
def fan_out(backbone: Backbone, site: Site, copies: int, rows: int) -> Iterator[None]:
    """Within the block, the backbone sees every row `copies` times from `site` on: B rows become K * B, copy by copy.

    `site` as `fork` gives it. For `embeddings` nothing is done: the caller repeats the inputs.
    """
    handles = []
    if site.kind in ("attention_output", "layer_sum", "final"):
        # Before the bank's own hooks, which expect the repeated rows: here and below.
        handles.append(backbone.port(site).hook(lambda value: _repeat(value, copies, rows), prepend=True))
    if site.kind == "attention_output" and site.layer is not None:
        assert backbone.family.attention_join is not None
        join = backbone.layer(site.layer).get_submodule(backbone.family.attention_join)
        widen = _widener(join, ("input_tensor",), copies, rows)
        handles.append(join.register_forward_pre_hook(widen, with_kwargs=True, prepend=True))
    if site.layer is not None:
        for index in range(site.layer + (site.kind != "layer_input"), backbone.depth):
            layer = backbone.layer(index)
            widen = _widener(layer, backbone.family.row_arguments, copies, rows)
            handles.append(layer.register_forward_pre_hook(widen, with_kwargs=True, prepend=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _widener(module: nn.Module, wanted: Collection[str], copies: int, rows: int):  # type: ignore[no-untyped-def]
    """A hook that repeats the `wanted` arguments of a module."""
    names = list(inspect.signature(module.forward).parameters)

    def widened(name: str, value: Any) -> Any:
        return _repeat(value, copies, rows) if name in wanted else value

    def widen(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        named = zip(names, args, strict=False)
        return tuple(widened(*pair) for pair in named), {key: widened(key, value) for key, value in kwargs.items()}

    return widen


def _repeat(value: Any, copies: int, rows: int) -> Any:
    # Hidden states are repeated at the fork only; masks come unrepeated to each layer, or broadcast over rows.
    if isinstance(value, Tensor) and value.shape[0] == rows:
        return value.repeat(copies, *[1] * (value.dim() - 1))
    return value
