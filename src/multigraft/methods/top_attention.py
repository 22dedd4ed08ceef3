"""Projected attention on top."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.methods.base import Context, proportional_width
from multigraft.methods.parallel import apply_dense, dense
from multigraft.methods.stack import Spec, Weights
from multigraft.methods.top import TopMethod, attention_specs


class TopAttention(TopMethod):
    """`V_D · (depth self-attention layers of width R) · V_E`; each with output projection, residual and norm."""

    name: ClassVar[str] = "top_attention"
    paper: ClassVar[str] = "Stickland & Murray 2019, arXiv 1902.02671, section 3.2"
    identity: ClassVar[bool] = False

    width: int | None = Field(None, gt=0, description="R; default 204 at D = 768, in proportion")
    heads: int = Field(12, gt=0, description="attention heads; R must be a multiple")
    depth: int = Field(6, gt=0, description="attention layers")

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        d, r = backbone.width, proportional_width(backbone, self.width, 204, self.heads)
        specs = dense("encode", d, r) | dense("decode", r, d)
        for i in range(self.depth):
            specs |= attention_specs(f"{i}", r)
        return specs

    def transform(self, weights: Weights, h: Tensor, heads: int, context: Context) -> Tensor:
        z = apply_dense(weights, "encode", h)
        for i in range(self.depth):
            z = self.attend(weights, f"{i}", z, self.heads, context)
        return apply_dense(weights, "decode", z)
