"""The site tables of text-to-text backbones: encoder-decoders and decoders. No other file knows a family.

Maps of an attention over the encoder's states are called cross_q, cross_k, cross_v and cross_o.
"""

from __future__ import annotations

from dataclasses import replace

from multigraft.backbones.encoder_tables import bert_layers
from multigraft.backbones.families import Family, Layers, Place


def _t5_layers(side: str, ffn: int, causal: bool) -> Layers:
    cross = {f"cross_{name}": f"layer.1.EncDecAttention.{name}" for name in "qkvo"} if causal else {}
    return Layers(
        f"{side}.block",
        attention_output=("output", "layer.0.dropout"),
        ffn_input=("output", f"layer.{ffn}.layer_norm"),
        ffn_output=("output", f"layer.{ffn}.dropout"),
        layer_input=("output", "layer.0.layer_norm"),
        linears={
            **{name: f"layer.0.SelfAttention.{name}" for name in "qkvo"},
            **cross,
            "gate": f"layer.{ffn}.DenseReluDense.wi_0",
            "up": f"layer.{ffn}.DenseReluDense.wi|layer.{ffn}.DenseReluDense.wi_1",
            "down": f"layer.{ffn}.DenseReluDense.wo",
        },
        causal=causal,
    )


def _bart_layers(side: str, causal: bool) -> Layers:
    parts = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj"}
    cross = {f"cross_{name}": f"encoder_attn.{path}" for name, path in parts.items()} if causal else {}
    before_ffn = "encoder_attn_layer_norm" if causal else "self_attn_layer_norm"
    return Layers(
        f"model.{side}.layers",
        attention_output=("output", "self_attn.out_proj"),
        ffn_input=("output", before_ffn),
        ffn_output=("output", "fc2"),
        layer_sum=("input", "final_layer_norm"),
        linears={**{name: f"self_attn.{path}" for name, path in parts.items()}, **cross, "up": "fc1", "down": "fc2"},
        causal=causal,
    )


def _llama_like(*model_types: str, ffn_input: str, attention_output: Place, ffn_output: Place) -> Family:
    layers = Layers(
        "model.layers",
        attention_output=attention_output,
        ffn_input=("output", ffn_input),
        ffn_output=ffn_output,
        layer_input=("output", "input_layernorm"),
        linears={
            "q": "self_attn.q_proj",
            "k": "self_attn.k_proj",
            "v": "self_attn.v_proj",
            "o": "self_attn.o_proj",
            "gate": "mlp.gate_proj",
            "up": "mlp.up_proj",
            "down": "mlp.down_proj",
        },
        causal=True,
    )
    return Family(model_types, (layers,), kind="decoder", final="model.norm")


_bert_decoder = bert_layers("decoder.bert.encoder.layer", causal=True)

TEXT_TO_TEXT: tuple[Family, ...] = (
    Family(
        ("t5", "mt5"),
        (_t5_layers("encoder", 1, causal=False), _t5_layers("decoder", 2, causal=True)),
        kind="encoder_decoder",
        final="decoder.final_layer_norm",
        tells_positions=False,
    ),
    Family(
        ("bart",),
        (_bart_layers("encoder", causal=False), _bart_layers("decoder", causal=True)),
        kind="encoder_decoder",
        packs=False,  # its positions cannot be told
        tells_positions=False,
        position_table="embed_positions",
    ),
    # Two BERTs.
    Family(
        ("encoder-decoder",),
        (
            bert_layers("encoder.encoder.layer"),
            replace(
                _bert_decoder,
                ffn_input=("output", "crossattention.output"),
                linears={
                    **_bert_decoder.linears,
                    "cross_q": "crossattention.self.query",
                    "cross_k": "crossattention.self.key",
                    "cross_v": "crossattention.self.value",
                    "cross_o": "crossattention.output.dense",
                },
            ),
        ),
        kind="encoder_decoder",
    ),
    Family(
        ("gpt2",),
        (
            Layers(
                "transformer.h",
                attention_output=("output", "attn.resid_dropout"),
                ffn_input=("output", "ln_2"),
                ffn_output=("output", "mlp"),
                layer_input=("output", "ln_1"),
                linears={
                    "q": "attn.c_attn#0/3",
                    "k": "attn.c_attn#1/3",
                    "v": "attn.c_attn#2/3",
                    "o": "attn.c_proj",
                    "up": "mlp.c_fc",
                    "down": "mlp.c_proj",
                },
                causal=True,
            ),
        ),
        kind="decoder",
        final="transformer.ln_f",
    ),
    Family(
        ("gpt_neox",),
        (
            Layers(
                "gpt_neox.layers",
                attention_output=("output", "post_attention_dropout"),
                ffn_input=("output", "post_attention_layernorm"),
                ffn_output=("output", "post_mlp_dropout"),
                layer_input=("output", "input_layernorm"),
                linears={
                    "q": "attention.query_key_value#0/3*",
                    "k": "attention.query_key_value#1/3*",
                    "v": "attention.query_key_value#2/3*",
                    "o": "attention.dense",
                    "up": "mlp.dense_h_to_4h",
                    "down": "mlp.dense_4h_to_h",
                },
                causal=True,
            ),
        ),
        kind="decoder",
        final="gpt_neox.final_layer_norm",
    ),
    _llama_like(
        "llama", "mistral", "qwen2", "qwen3", "gemma", "smollm3",
        ffn_input="post_attention_layernorm",
        attention_output=("output", "self_attn.o_proj"),
        ffn_output=("output", "mlp"),
    ),
    # Norms behind the sublayers as well: what joins the residual is what they give.
    _llama_like(
        "gemma2", "gemma3_text",
        ffn_input="pre_feedforward_layernorm",
        attention_output=("output", "post_attention_layernorm"),
        ffn_output=("output", "post_feedforward_layernorm"),
    ),
)  # fmt: skip
