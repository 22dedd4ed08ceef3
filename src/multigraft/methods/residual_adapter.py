"""Residual adapters: one linear map per token with a skip."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.methods.base import Context, LayerMethod, Place
from multigraft.methods.functional import linear
from multigraft.methods.parallel import STD
from multigraft.methods.stack import Spec, Weights


class ResidualAdapter(LayerMethod):
    """`x + W x + b` on a layer's output (series), or `W h + b` of its input added to its sum (parallel).

    With a rank, `W = U D` of that rank. W, or its factor U, starts at 0: a fresh adapter is the identity.
    """

    name: ClassVar[str] = "residual_adapter"
    paper: ClassVar[str] = "Rebuffi et al. 2017 (arXiv 1705.08045) and 2018 (arXiv 1803.10082)"

    form: Literal["series", "parallel"] = Field("parallel", description="after the layer, or beside it")
    rank: int | None = Field(None, gt=0, description="R of a low-rank W; default: W is D D")

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        d = backbone.width
        specs: dict[str, Spec] = {}
        for i in self.indexes(backbone):
            if self.rank is None:
                specs[f"{i}.weight"] = Spec((d, d))
            else:
                specs |= {f"{i}.down": Spec((self.rank, d), STD), f"{i}.up": Spec((d, self.rank))}
            specs[f"{i}.bias"] = Spec((d,))
        return specs

    def places(self, backbone: Backbone) -> list[Place]:
        layers = self.indexes(backbone)
        if self.form == "series":
            return [Place(Site("layer", i), partial(self._add, i)) for i in layers]
        return [Place(Site("layer_sum", i), partial(self._add, i), read=Site("layer_input", i)) for i in layers]

    def _add(self, layer: int, weights: Weights, value: Tensor, source: Tensor, context: Context) -> Tensor:
        source = source[:, : value.shape[1]]
        if self.rank is None:
            return value + linear(source, weights[f"{layer}.weight"], weights[f"{layer}.bias"])
        narrow = linear(source, weights[f"{layer}.down"])
        return value + linear(narrow, weights[f"{layer}.up"], weights[f"{layer}.bias"])
