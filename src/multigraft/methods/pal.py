"""Projected attention layers."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.methods.base import Context, proportional_width
from multigraft.methods.functional import attention
from multigraft.methods.parallel import ParallelMethod, apply_dense, dense
from multigraft.methods.stack import Spec, Weights


class PAL(ParallelMethod):
    """`TS(h) = gelu(V_D · MHA_R(V_E h))`: narrow self-attention between two projections.

    MHA_R has queries, keys and values per layer and no output projection. V_E and V_D are shared across the
    layers of an expert unless told otherwise. V_D starts at 0, so a fresh PAL changes nothing.
    """

    name: ClassVar[str] = "pal"
    paper: ClassVar[str] = "Stickland & Murray 2019, arXiv 1902.02671, section 3.3"
    attends: ClassVar[bool] = True

    width: int | None = Field(None, gt=0, description="R, of the attention; default 204 at D = 768, in proportion")
    heads: int = Field(6, gt=0, description="attention heads; R must be a multiple")
    share_v: bool = Field(True, description="one V_E and V_D for all layers of an expert")
    form: Literal["released", "paper"] = Field(
        "released", description="released: gelu after V_D, as in the published figures; paper: none, as in its equation"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="on attention probabilities")

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        d, layers = backbone.width, self.indexes(backbone)
        r = proportional_width(backbone, self.width, 204, self.heads)
        specs: dict[str, Spec] = {}
        for v in [""] if self.share_v else [f"{i}." for i in layers]:
            specs |= dense(f"{v}encode", d, r) | dense(f"{v}decode", r, d, std=0.0)
        for i in layers:
            specs |= dense(f"{i}.query", r, r) | dense(f"{i}.key", r, r) | dense(f"{i}.value", r, r)
        return specs | self.lhuc_specs(backbone)

    def branch(self, layer: int, weights: Weights, h: Tensor, wanted: int, context: Context) -> Tensor:
        v = "" if self.share_v else f"{layer}."
        z = apply_dense(weights, f"{v}encode", h)
        q = apply_dense(weights, f"{layer}.query", z[:, :wanted])
        k, u = (apply_dense(weights, f"{layer}.{part}", z) for part in ("key", "value"))
        z = attention(q, k, u, self.heads, context.mask, context.dropout(self.dropout))
        output = apply_dense(weights, f"{v}decode", z)
        return F.gelu(output) if self.form == "released" else output
