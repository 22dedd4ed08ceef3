"""The number format that a model computes in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def has_fast_bf16(device: torch.device) -> bool:
    """Does the device compute bfloat16 in hardware?"""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def computing_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Context in which matrix products run in bfloat16 (`bf16`, or `auto` where the device has it) or float32."""
    if precision == "bf16" or (precision == "auto" and has_fast_bf16(device)):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
