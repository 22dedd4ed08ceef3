"""PEFT's side: LoRA on models of transformers. Runs in the environment `peft`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from sides import DEVICE, plain_model
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.methods.lora import LoRA

PATHS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "o": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}


def peft_model(rank: int, maps: Sequence[str], names: Sequence[str], layers: Sequence[int] | None = None) -> Any:
    """MiniLM with a LoRA and a classifier for each name; all `B` are drawn, so that no update is zero.

    layers: those with a LoRA, by default all.
    """
    places = "|".join(PATHS[part].replace(".", r"\.") for part in maps)
    where = r"\d+" if layers is None else f"({'|'.join(map(str, layers))})"
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=rf".*\.layer\.{where}\.({places})",
    )
    model = get_peft_model(plain_model(), config, adapter_name=names[0])
    for name in names[1:]:
        model.add_adapter(name, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    return model.to(DEVICE)


def load_expert(model: Any, name: str, module: Mapping[str, Tensor], head: Mapping[str, Tensor]) -> None:
    """Overwrite a LoRA of `peft_model` and its classifier with an expert's tensors."""
    bert = model.base_model.model
    with torch.no_grad():
        for key, tensor in module.items():
            layer, part, which = key.split(".")
            place = bert.bert.encoder.layer[int(layer)].get_submodule(PATHS[part])
            getattr(place, f"lora_{which.upper()}")[name].weight.copy_(tensor)
        for key, tensor in head.items():
            bert.classifier.modules_to_save[name].get_parameter(key).copy_(tensor)


def peft_text_model(backbone: Backbone, lora: LoRA, tensors: dict[str, Tensor]) -> Any:
    """A text-to-text backbone with PEFT's LoRA of the same weights; the backbone is changed.

    Where a map holds several in one, PEFT has one LoRA for all: its rank is the sum of theirs, its `B` has blocks.
    """
    places = {(i, part): backbone.port(Site("linear", i, part)) for i in lora.indexes(backbone) for part in lora.maps}
    names = {module: name for name, module in backbone.model.named_modules()}
    ranks = {names[port.module]: lora.rank * port.of for port in places.values()}
    scale = lora.alpha / lora.rank
    config = LoraConfig(
        r=lora.rank,
        target_modules=list(ranks),
        rank_pattern=ranks,
        alpha_pattern={name: rank * scale for name, rank in ranks.items()},
    )
    model: Any = get_peft_model(backbone.model, config)
    with torch.no_grad():
        for (i, part), port in places.items():
            layer = model.base_model.model.get_submodule(names[port.module])
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            narrow = slice(port.index * lora.rank, (port.index + 1) * lora.rank)
            wide = slice(port.index * len(b) // port.of, (port.index + 1) * len(b) // port.of)
            a[narrow] = tensors[f"{i}.{part}.a"]
            b[wide, narrow] = tensors[f"{i}.{part}.b"]
    return model.eval()
