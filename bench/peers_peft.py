"""PEFT's side: LoRA on the classification model of transformers. Runs in the environment `peft`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from sides import DEVICE, plain_model

PATHS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "o": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}


def peft_model(rank: int, maps: Sequence[str], names: Sequence[str]) -> Any:
    """MiniLM with a LoRA and a classifier for each name; all `B` are drawn, so that no update is zero."""
    places = "|".join(PATHS[part].replace(".", r"\.") for part in maps)
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=rf".*\.layer\.\d+\.({places})",
    )
    model = get_peft_model(plain_model(), config, adapter_name=names[0])
    for name in names[1:]:
        model.add_adapter(name, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    return model.to(DEVICE)
