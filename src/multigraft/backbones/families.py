"""The site table: where each model family keeps its sites. No other file knows a family."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from multigraft.backbones.sites import Port, Site
from multigraft.errors import UserError, nearest

Place = tuple[Literal["input", "output"], str]  # side and path of a submodule, relative to the layer


@dataclass(frozen=True)
class Family:
    """Paths of the submodules that carry each site.

    `linears` maps q, k, v, o, up, down to a path, with `#i/n` behind it where the map is the i-th of n
    equal parts of one fused linear. `row_arguments` are the tensors besides the hidden states that a layer
    is given with one entry per row of the batch.
    """

    model_types: tuple[str, ...]
    layers: str
    attention_output: Place
    ffn_input: Place
    ffn_output: Place
    linears: dict[str, str]
    layer_input: Place = ("input", "")
    layer_sum: Place = ("input", "output.LayerNorm")
    final: str | None = None  # submodule that yields the last hidden state; None: the last layer
    row_arguments: tuple[str, ...] = field(default=("hidden_states", "attention_mask"))
    # What inference may rely on to compute less; see multigraft.methods.fanout and first_token.
    attention_join: str | None = None  # submodule that maps the attention's result and adds the residual, input_tensor
    closed: bool = True  # nothing outside a layer joins what enters it with what leaves it
    post_norm: bool = True  # what the feed-forward reads is also its residual


def _bert_like(*model_types: str, query: str = "query", key: str = "key", value: str = "value", **more: Any) -> Family:
    return Family(
        model_types,
        layers="encoder.layer",
        attention_output=("output", "attention.output.dropout"),
        ffn_input=("output", "attention.output"),
        ffn_output=("output", "output.dropout"),
        linears={
            "q": f"attention.self.{query}",
            "k": f"attention.self.{key}",
            "v": f"attention.self.{value}",
            "o": "attention.output.dense",
            "up": "intermediate.dense",
            "down": "output.dense",
        },
        **more,
    )


FAMILIES: tuple[Family, ...] = (
    _bert_like("bert", "roberta", "xlm-roberta", "electra", attention_join="attention.output"),
    # Not closed: the larger ones have a convolution beside the first layer.
    _bert_like("deberta-v2", query="query_proj", key="key_proj", value="value_proj", closed=False),
    Family(
        ("distilbert",),
        layers="transformer.layer",
        attention_output=("output", "attention.out_lin"),
        ffn_input=("output", "sa_layer_norm"),
        ffn_output=("output", "ffn"),
        layer_sum=("input", "output_layer_norm"),
        linears={
            "q": "attention.q_lin",
            "k": "attention.k_lin",
            "v": "attention.v_lin",
            "o": "attention.out_lin",
            "up": "ffn.lin1",
            "down": "ffn.lin2",
        },
    ),
    Family(
        ("mpnet",),
        layers="encoder.layer",
        attention_output=("output", "attention.dropout"),
        ffn_input=("output", "attention.LayerNorm"),
        ffn_output=("output", "output.dropout"),
        linears={
            "q": "attention.attn.q",
            "k": "attention.attn.k",
            "v": "attention.attn.v",
            "o": "attention.attn.o",
            "up": "intermediate.dense",
            "down": "output.dense",
        },
        row_arguments=("hidden_states", "attention_mask", "position_bias"),
    ),
    Family(
        ("modernbert",),
        layers="layers",
        attention_output=("output", "attn.out_drop"),
        ffn_input=("output", "mlp_norm"),
        ffn_output=("output", "mlp"),
        # Pre-norm: modules read what the sublayers read, and join the sum that leaves the layer.
        layer_input=("output", "attn_norm"),
        layer_sum=("output", ""),
        linears={
            "q": "attn.Wqkv#0/3",
            "k": "attn.Wqkv#1/3",
            "v": "attn.Wqkv#2/3",
            "o": "attn.Wo",
            "up": "mlp.Wi",
            "down": "mlp.Wo",
        },
        final="final_norm",
        post_norm=False,
    ),
)


def family_of(model_type: str, where: object) -> Family:
    """The family of a transformers `model_type`. Raises UserError when there is no table for it."""
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    known = [name for family in FAMILIES for name in family.model_types]
    raise UserError(f"models of type {model_type!r} are not supported", where=where, fix=nearest(model_type, known))


def resolve(model: nn.Module, family: Family, site: Site) -> Port:
    """The port of a site in a model of the family."""
    layers = model.get_submodule(family.layers)
    if site.kind == "embeddings":
        return Port(layers[0], "input")  # type: ignore[index,arg-type]
    if site.kind == "final":
        return Port(model.get_submodule(family.final) if family.final else layers[-1])  # type: ignore[index]
    layer = layers[site.layer]  # type: ignore[index]
    if site.kind == "layer":
        return Port(layer)
    if site.kind == "bias":
        return Port(layer.get_submodule(site.part or ""))
    if site.kind in ("linear", "linear_input"):
        path, _, part = family.linears[site.part or ""].partition("#")
        module = layer.get_submodule(path)
        if site.kind == "linear_input":
            return Port(module, "input")
        if not part:
            return Port(module)
        index, of = (int(number) for number in part.split("/"))
        width = module.out_features // of
        return Port(module, "output", index * width, (index + 1) * width)
    side, path = getattr(family, site.kind)
    return Port(layer.get_submodule(path), side)
