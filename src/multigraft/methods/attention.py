"""Attention in training on a CPU: PyTorch's fused one has a slow way back there, plain products are faster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

ROOM = 2 << 30  # bytes for the attention weights of all layers, which plain products keep for the way back
_BYTES = 6  # of a weight: in float32, and as it is multiplied
_WINDOWS = ("sliding_window", "local_attention")  # where padding sees nothing, plain products give no number


@contextmanager
def plain_attention(model: Any, rows: int, positions: int) -> Iterator[None]:
    """Within the block, which is to hold a forward pass of B rows with T positions, a model attends by plain products.

    Only where gradients are wanted on a CPU, the model has fused attention and no windows, and B H L T^2 weights have
    room.
    """
    configs = _configs(model)
    if not _fits(model, configs, rows, positions):
        configs = []
    try:
        for config in configs:
            config._attn_implementation = "eager"
        yield
    finally:
        for config in configs:
            config._attn_implementation = "sdpa"


def _fits(model: Any, configs: list[Any], rows: int, positions: int) -> bool:
    if not torch.is_grad_enabled() or next(model.parameters()).device.type != "cpu":
        return False
    weights = 0
    for config in configs:
        if config._attn_implementation != "sdpa" or any(getattr(config, name, None) for name in _WINDOWS):
            return False
        layers, heads = (getattr(config, name, 0) for name in ("num_hidden_layers", "num_attention_heads"))
        weights = max(weights, rows * layers * heads * positions**2)
    return weights * _BYTES <= ROOM


def _configs(model: nn.Module) -> list[Any]:
    """Those of the model and of the models in it."""
    return list({id(module.config): module.config for module in model.modules() if hasattr(module, "config")}.values())
