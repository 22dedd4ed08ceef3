"""What a site table says of a model family, and how a site is found by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from multigraft.backbones.sites import Port, Site
from multigraft.errors import UserError, nearest

Kind = Literal["encoder", "encoder_decoder", "decoder"]
Place = tuple[Literal["input", "output"], str]  # side and path of a submodule, relative to the layer


@dataclass(frozen=True)
class Layers:
    """One stack of layers: where its list is, and the paths in a layer of the submodules that carry each site.

    `linears` maps q, k, v, o, gate, up, down, and in a decoder that reads an encoder cross_q, cross_k, cross_v,
    cross_o, to a path; `a|b`: whichever the model has; `#i/n` behind it: the i-th of n equal parts of one fused
    map; `#i/n*`: the i-th of n equal parts of each head's share of it.
    """

    path: str
    attention_output: Place
    ffn_input: Place
    ffn_output: Place
    linears: dict[str, str]
    layer_input: Place = ("input", "")
    layer_sum: Place = ("output", "")
    causal: bool = False  # a token sees those before it only


@dataclass(frozen=True)
class Family:
    """Models with the same site table. Layers are counted through all stacks: an encoder's, then a decoder's."""

    model_types: tuple[str, ...]
    stacks: tuple[Layers, ...]
    kind: Kind = "encoder"
    final: str | None = None  # submodule that yields the last hidden state; None: the last layer
    packs: bool = True  # can rows of a batch hold several texts, kept apart by masks of B 1 T T and positions
    tells_positions: bool = True  # takes position_ids; not where positions are relative, or its own affair
    # Where a reader has learned positions but takes no position_ids, its table of them, which knows its `offset`:
    position_table: str | None = None
    # What inference with heads may rely on to compute less; see multigraft.methods.fanout and first_token.
    # Tensors besides the hidden states that a layer is given with one entry per row of the batch:
    row_arguments: tuple[str, ...] = ("hidden_states", "attention_mask")
    attention_join: str | None = None  # submodule that maps the attention's result and adds the residual, input_tensor
    closed: bool = True  # nothing outside a layer joins what enters it with what leaves it
    post_norm: bool = True  # what the feed-forward reads is also its residual


def families() -> tuple[Family, ...]:
    """All site tables."""
    from multigraft.backbones.encoder_tables import ENCODERS
    from multigraft.backbones.text_tables import TEXT_TO_TEXT

    return ENCODERS + TEXT_TO_TEXT


def family_of(model_type: str, where: object) -> Family:
    """The family of a transformers `model_type`. Raises UserError when there is no table for it."""
    for family in families():
        if model_type in family.model_types:
            return family
    known = [name for family in families() for name in family.model_types]
    raise UserError(f"models of type {model_type!r} are not supported", where=where, fix=nearest(model_type, known))


def layers_of(model: nn.Module, family: Family) -> list[tuple[Layers, nn.Module]]:
    """Every layer of the model with the table of its stack, in order."""
    return [(stack, layer) for stack in family.stacks for layer in model.get_submodule(stack.path)]  # type: ignore[union-attr,attr-defined]


def reader_of(model: nn.Module, stack: Layers) -> nn.Module:
    """The innermost model of transformers that holds the stack: it embeds tokens, makes masks and counts positions."""
    path = stack.path.split(".")
    around = [model.get_submodule(".".join(path[:end])) for end in range(len(path))]
    return next(module for module in reversed(around) if hasattr(module, "get_input_embeddings"))


def resolve(model: nn.Module, family: Family, site: Site) -> Port:
    """The port of a site in a model of the family. Raises UserError for a map that its layers do not have."""
    layers = layers_of(model, family)
    if site.kind == "embeddings":
        return Port(layers[0][1], "input")
    if site.kind == "final":
        return Port(model.get_submodule(family.final) if family.final else layers[-1][1])
    stack, layer = layers[site.layer or 0]
    if site.kind == "layer":
        return Port(layer)
    if site.kind == "bias":
        return Port(layer.get_submodule(site.part or ""))
    if site.kind in ("linear", "linear_input"):
        return _map(model, stack, layer, site)
    side, path = getattr(stack, site.kind)
    return Port(layer.get_submodule(path), side)


def maps_of(model: nn.Module, family: Family, index: int) -> list[str]:
    """Names of the linear maps that a layer has."""
    return _maps(*layers_of(model, family)[index])


def _maps(stack: Layers, layer: nn.Module) -> list[str]:
    there = {name for name, _ in layer.named_modules()}
    return [name for name, paths in stack.linears.items() if there.intersection(paths.partition("#")[0].split("|"))]


def _map(model: nn.Module, stack: Layers, layer: nn.Module, site: Site) -> Port:
    paths, _, part = stack.linears.get(site.part or "", "").partition("#")
    there = {name for name, _ in layer.named_modules()}
    path = next((path for path in paths.split("|") if path and path in there), None)
    if path is None:
        known = ", ".join(_maps(stack, layer))
        raise UserError(f"layer {site.layer} has no map {site.part!r}", fix=f"it has {known}")
    module = layer.get_submodule(path)
    if site.kind == "linear_input":
        return Port(module, "input")
    if not part:
        return Port(module)
    index, of = (int(number) for number in part.removesuffix("*").split("/"))
    heads = int(model.config.num_attention_heads) if part.endswith("*") else 1  # type: ignore[union-attr,arg-type]
    return Port(module, "output", index, of, heads)
