"""Tensor functions whose weights are either one expert's or one entry per row of the batch."""

from __future__ import annotations

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
        return F.linear(x, weight, bias if bias is None else bias.to(weight.dtype))
    if bias is None:
        return torch.bmm(x.to(weight.dtype), weight.mT)
    return torch.baddbmm(bias.to(weight.dtype).unsqueeze(1), x.to(weight.dtype), weight.mT)


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer norm over the last axis; x: B T D, gain and bias: D or B D."""
    if gain.dim() == 1:
        return F.layer_norm(x, x.shape[-1:], gain, bias, eps)
    return F.layer_norm(x, x.shape[-1:], eps=eps) * per_row(gain) + per_row(bias)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None, dropout: float) -> Tensor:
    """Scaled dot-product attention; q, k, v: B T R, mask: B 1 1 T, true where a token may be seen; gives B T R."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    return mixed.transpose(1, 2).flatten(-2)
