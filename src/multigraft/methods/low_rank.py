"""Low-rank layers beside a layer: the baseline that every new module has to beat."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.methods.base import Context, proportional_width
from multigraft.methods.functional import ACTIVATIONS, Activation
from multigraft.methods.parallel import ParallelMethod, apply_dense, dense
from multigraft.methods.stack import Spec, Weights


class LowRank(ParallelMethod):
    """`TS(h) = V_D · g(V_E h)` with weights per layer; V_D starts at 0, so a fresh expert changes nothing.

    The released code, and so the published figures, have a gelu for g; the paper's text has the identity.
    """

    name: ClassVar[str] = "low_rank"
    paper: ClassVar[str] = "Stickland & Murray 2019, arXiv 1902.02671, section 3.3"

    width: int | None = Field(None, gt=0, description="R; default 100 at D = 768, in proportion")
    activation: Activation = Field("gelu", description="between the two projections")

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        d, r = backbone.width, proportional_width(backbone, self.width, 100)
        specs: dict[str, Spec] = {}
        for i in self.indexes(backbone):
            specs |= dense(f"{i}.encode", d, r) | dense(f"{i}.decode", r, d, std=0.0)
        return specs | self.lhuc_specs(backbone)

    def branch(self, layer: int, weights: Weights, h: Tensor, wanted: int, context: Context) -> Tensor:
        z = ACTIVATIONS[self.activation](apply_dense(weights, f"{layer}.encode", h[:, :wanted]))
        return apply_dense(weights, f"{layer}.decode", z)
