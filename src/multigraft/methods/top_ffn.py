"""Projected feed-forward layers on top."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.methods.base import Context, proportional_width
from multigraft.methods.parallel import apply_dense, dense
from multigraft.methods.stack import Spec, Weights
from multigraft.methods.top import TopMethod, feed_specs


class TopFFN(TopMethod):
    """`V_D · (one or two feed-forward layers of width R) · V_E`; each with residual and norm."""

    name: ClassVar[str] = "top_ffn"
    paper: ClassVar[str] = "Stickland & Murray 2019, arXiv 1902.02671, section 3.2"
    identity: ClassVar[bool] = False

    depth: Literal[1, 2] = Field(1, description="feed-forward layers")
    width: int | None = Field(
        None, gt=0, description="R; default 408 (one layer) or 252 (two) at D = 768, in proportion"
    )
    expansion: int = Field(2, gt=0, description="inner width of a layer over R")

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        d, r = backbone.width, proportional_width(backbone, self.width, {1: 408, 2: 252}[self.depth])
        specs = dense("encode", d, r) | dense("decode", r, d)
        for i in range(self.depth):
            specs |= feed_specs(f"{i}", r, self.expansion * r)
        return specs

    def transform(self, weights: Weights, h: Tensor, heads: int, context: Context) -> Tensor:
        z = apply_dense(weights, "encode", h)
        for i in range(self.depth):
            z = self.feed(weights, f"{i}", z, context)
        return apply_dense(weights, "decode", z)
