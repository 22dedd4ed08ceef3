"""A narrow feed-forward beside a layer, between projections that all layers share."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.methods.base import Context, proportional_width
from multigraft.methods.parallel import ParallelMethod, apply_dense, dense
from multigraft.methods.stack import Spec, Weights


class FFN(ParallelMethod):
    """`TS(h) = V_D · g(V_E h)`, g a feed-forward of width R per layer, V_E and V_D shared across layers.

    With one layer `g(z) = gelu(W z)`, with two `g(z) = W' gelu(W z)`. V_D starts at 0, so a fresh expert
    changes nothing.
    """

    name: ClassVar[str] = "ffn"
    paper: ClassVar[str] = "Stickland & Murray 2019, arXiv 1902.02671, section 3.3"

    width: int | None = Field(None, gt=0, description="R; default 204 at D = 768, in proportion")
    depth: Literal[1, 2] = Field(1, description="layers of g")

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        d, r = backbone.width, proportional_width(backbone, self.width, 204)
        specs = dense("encode", d, r) | dense("decode", r, d, std=0.0)
        for i in self.indexes(backbone):
            specs |= dense(f"{i}.inner", r, r)
            if self.depth == 2:
                specs |= dense(f"{i}.outer", r, r)
        return specs | self.lhuc_specs(backbone)

    def branch(self, layer: int, weights: Weights, h: Tensor, wanted: int, context: Context) -> Tensor:
        z = F.gelu(apply_dense(weights, f"{layer}.inner", apply_dense(weights, "encode", h[:, :wanted])))
        if self.depth == 2:
            z = apply_dense(weights, f"{layer}.outer", z)
        return apply_dense(weights, "decode", z)
