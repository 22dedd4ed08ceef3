"""PEFT's side: prompts on models of transformers. Runs in the environment `peft`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, TaskType, get_peft_model
from sides import DEVICE, plain_model, plain_optimizer, plain_update
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.methods.front import PromptMethod
from multigraft.methods.p_tuning import PTuning
from multigraft.methods.prefix_tuning import PrefixTuning

TASKS = {
    "encoder": TaskType.FEATURE_EXTRACTION,
    "encoder_decoder": TaskType.SEQ_2_SEQ_LM,
    "decoder": TaskType.CAUSAL_LM,
}


def peft_classifier(length: int) -> Any:
    """MiniLM with a prompt and a classifier; PEFT's classifier reads the first prompt vector's hidden state."""
    config = PromptTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=length)
    return get_peft_model(plain_model(), config).to(DEVICE).eval()


def plain_float_step(model: Any, inputs: Mapping[str, object]) -> Callable[[], None]:
    """Forward, backward and AdamW step in float32."""
    optimizer = plain_optimizer(model)

    def step() -> None:
        model(**inputs).loss.backward()
        plain_update(model, optimizer)

    return step


def peft_prompt_model(backbone: Backbone, method: PromptMethod, tensors: dict[str, Tensor]) -> Any:
    """A backbone with PEFT's method of the same parameters; the backbone is changed."""
    common = {"task_type": TASKS[backbone.family.kind], "num_virtual_tokens": method.length}
    if isinstance(method, PrefixTuning):
        return _prefix(backbone, method, tensors, common)
    if isinstance(method, PTuning):
        config = PromptEncoderConfig(
            **common,
            num_transformer_submodules=1,
            encoder_reparameterization_type="MLP",
            encoder_hidden_size=method.width,
        )
        model = get_peft_model(backbone.model, config)
        encoder = model.prompt_encoder["default"]
        named = {"embedding.weight": tensors["tokens"]}
        for index in range(3):
            for part in ("weight", "bias"):
                named[f"mlp_head.{2 * index}.{part}"] = tensors[f"{index}.{part}"]
        encoder.load_state_dict(named)
        return model.eval()
    # In an encoder-decoder PEFT would put a second prompt before the decoder's input.
    model = get_peft_model(backbone.model, PromptTuningConfig(**common, num_transformer_submodules=1))
    model.prompt_encoder["default"].load_state_dict({"embedding.weight": tensors["prompt"]})
    return model.eval()


def _prefix(backbone: Backbone, method: PrefixTuning, tensors: dict[str, Tensor], common: dict[str, Any]) -> Any:
    layers = [i for i in range(backbone.depth) if backbone.causal(i) or not backbone.writes]
    _, width = backbone.linear(layers[0], "k")
    heads = int(getattr(backbone.config, "num_key_value_heads", None) or backbone.heads)
    network = {} if method.width is None else {"prefix_projection": True, "encoder_hidden_size": method.width}
    # Beside an encoder PEFT deals out four tensors to a layer, and drops the two meant for attention to the encoder.
    submodules = 2 if backbone.family.kind == "encoder_decoder" else 1
    config = PrefixTuningConfig(
        **common, num_layers=len(layers) * submodules, token_dim=width, num_attention_heads=heads,
        num_transformer_submodules=submodules, **network,
    )  # fmt: skip
    model = get_peft_model(backbone.model, config)
    places = [f"{i}.{part}" for i in layers for part in ("k", "v")]
    if method.width is None:
        dropped = torch.zeros(method.length, 2 * width * (submodules - 1))
        parts = [_turned(backbone, name, tensors[name]) for name in places]
        columns = [part for k, v in zip(parts[::2], parts[1::2], strict=True) for part in (k, v, dropped)]
        named = {"embedding.weight": torch.cat(columns, dim=1)}
    else:
        named = {"embedding.weight": tensors["decoder.tokens"]}
        named |= {f"transform.0.{part}": tensors[f"decoder.{part}"] for part in ("weight", "bias")}
        for part in ("weight", "bias"):
            named[f"transform.2.{part}"] = torch.cat([tensors[f"{name}.{part}"] for name in places])
    model.prompt_encoder["default"].load_state_dict(named)
    return model.eval()


def _turned(backbone: Backbone, name: str, prefix: Tensor) -> Tensor:
    """Keys as they stand in the cache, where PEFT puts them: turned to their positions if the family turns keys."""
    rotary = getattr(backbone.reader(0), "rotary_emb", None)
    if rotary is None or not name.endswith("k"):
        return prefix
    cos, sin = rotary(prefix, torch.arange(len(prefix))[None])
    heads = prefix.unflatten(1, (-1, cos.shape[-1]))
    half = heads.chunk(2, dim=-1)
    turned = heads * cos[0][:, None] + torch.cat([-half[1], half[0]], dim=-1) * sin[0][:, None]
    return turned.flatten(1)
