"""The site tables of encoders. No other file knows a family."""

from __future__ import annotations

from typing import Any

from multigraft.backbones.families import Family, Layers


def bert_layers(path: str, *, query: str = "query", key: str = "key", value: str = "value", **more: Any) -> Layers:
    """A stack of BERT layers; the names are those of the maps in its attention."""
    return Layers(
        path,
        attention_output=("output", "attention.output.dropout"),
        ffn_input=("output", "attention.output"),
        ffn_output=("output", "output.dropout"),
        layer_sum=("input", "output.LayerNorm"),
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


ENCODERS: tuple[Family, ...] = (
    Family(
        ("bert", "roberta", "xlm-roberta", "electra"),
        (bert_layers("encoder.layer"),),
        attention_join="attention.output",
    ),
    Family(
        ("deberta-v2",),
        (bert_layers("encoder.layer", query="query_proj", key="key_proj", value="value_proj"),),
        closed=False,  # the larger ones have a convolution beside the first layer
    ),
    Family(
        ("distilbert",),
        (
            Layers(
                "transformer.layer",
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
        ),
    ),
    Family(
        ("mpnet",),
        (
            Layers(
                "encoder.layer",
                attention_output=("output", "attention.dropout"),
                ffn_input=("output", "attention.LayerNorm"),
                ffn_output=("output", "output.dropout"),
                layer_sum=("input", "output.LayerNorm"),
                linears={
                    "q": "attention.attn.q",
                    "k": "attention.attn.k",
                    "v": "attention.attn.v",
                    "o": "attention.attn.o",
                    "up": "intermediate.dense",
                    "down": "output.dense",
                },
            ),
        ),
        row_arguments=("hidden_states", "attention_mask", "position_bias"),
    ),
    Family(
        ("modernbert",),
        (
            # Pre-norm: modules read what the sublayers read, and join the sum that leaves the layer.
            Layers(
                "layers",
                attention_output=("output", "attn.out_drop"),
                ffn_input=("output", "mlp_norm"),
                ffn_output=("output", "mlp"),
                layer_input=("output", "attn_norm"),
                linears={
                    "q": "attn.Wqkv#0/3",
                    "k": "attn.Wqkv#1/3",
                    "v": "attn.Wqkv#2/3",
                    "o": "attn.Wo",
                    "up": "mlp.Wi",
                    "down": "mlp.Wo",
                },
            ),
        ),
        final="final_norm",
        post_norm=False,
    ),
)
