"""Tensor functions whose weights are either one expert's or one entry per row of the batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Literal["gelu", "identity"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "identity": lambda x: x}


def per_row(vector: Tensor) -> Tensor:
    """A vector as it is multiplied with or added to `B T D`: D stays, B D becomes B 1 D."""
    return vector if vector.dim() == 1 else vector.unsqueeze(1)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weightᵀ + bias`; x: B T I, weight: O I or B O I, bias: O or B O; gives B T O."""
    if weight.dim() == 2:
        # Contiguous: PyTorch repeats the weight for every row of an x that is a slice.
        return F.linear(x.contiguous(), weight, bias if bias is None else bias.to(weight.dtype))
    if bias is None:
        return torch.bmm(x.to(weight.dtype), weight.mT)
    return torch.baddbmm(bias.to(weight.dtype).unsqueeze(1), x.to(weight.dtype), weight.mT)


def add_linear(value: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """`value + x @ weightᵀ` in one operation; value: B T O, x and weight as in `linear`."""
    if weight.dim() == 2:
        return torch.addmm(value.flatten(0, 1), x.flatten(0, 1), weight.mT).view_as(value)
    return torch.baddbmm(value, x, weight.mT)


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer norm over the last axis; x: B T D, gain and bias: D or B D."""
    if gain.dim() == 1:
        return F.layer_norm(x, x.shape[-1:], gain, bias, eps)
    return F.layer_norm(x, x.shape[-1:], eps=eps) * per_row(gain) + per_row(bias)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None, dropout: float) -> Tensor:
    """Scaled dot-product attention; q, k, v: B T R, mask: B 1 1 T, true where a token may be seen; gives B T R."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    if q.requires_grad and q.device.type == "cpu":
        mixed = _attention_on_cpu(q, k, v, mask, dropout)
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    return mixed.transpose(1, 2).flatten(-2)


def _attention_on_cpu(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """For training: PyTorch's own takes two to five times as long forward and backward at the widths of modules."""
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    probabilities = torch.softmax(scores, dim=-1)
    if dropout:
        probabilities = probabilities * (_kept(probabilities.shape, dropout).to(probabilities.dtype) / (1 - dropout))
    return probabilities.to(v.dtype) @ v


def _kept(shape: torch.Size, dropout: float) -> Tensor:
    """True with probability `1 - dropout`, to 16 bits: four draws from each random number, which are slow to make."""
    count = math.prod(shape)
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return bits.view(torch.int16)[:count].view(shape) >= round(dropout * 2**16) - 2**15
