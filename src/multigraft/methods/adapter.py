"""Bottleneck adapters after both sublayers."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site, SiteKind
from multigraft.methods.base import Context, LayerMethod, Place, proportional_width
from multigraft.methods.functional import ACTIVATIONS, Activation
from multigraft.methods.parallel import apply_dense, dense
from multigraft.methods.stack import Spec, Weights


class Adapter(LayerMethod):
    """`x + up(gelu(down(x)))` on what the attention, and what the feed-forward, adds to the residual.

    `up` starts at 0: a fresh adapter is the identity. The form `released` is the PALs code's approximation:
    its second adapter reads the feed-forward's input and adds to the feed-forward's output.
    """

    name: ClassVar[str] = "adapter"
    paper: ClassVar[str] = "Houlsby et al. 2019, arXiv 1902.00751, section 2; as a baseline in arXiv 1902.02671"

    width: int | None = Field(None, gt=0, description="R, of the bottleneck; default 50 at D = 768, in proportion")
    activation: Activation = Field("gelu", description="in the bottleneck")
    form: Literal["serial", "released"] = Field(
        "serial", description="serial: after each sublayer; released: the feed-forward's is parallel to it"
    )
    sublayers: Literal["both", "attention", "ffn"] = Field("both", description="sublayers with an adapter")

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        d, r = backbone.width, proportional_width(backbone, self.width, 50)
        specs: dict[str, Spec] = {}
        for i in self.indexes(backbone):
            for place in self._sublayers():
                specs |= dense(f"{i}.{place}.down", d, r) | dense(f"{i}.{place}.up", r, d, std=0.0)
        return specs

    def places(self, backbone: Backbone) -> list[Place]:
        places: list[Place] = []
        for i in self.indexes(backbone):
            for place in self._sublayers():
                write: SiteKind = "attention_output" if place == "attention" else "ffn_output"
                released = place == "ffn" and self.form == "released"
                read = Site("ffn_input", i) if released else None
                places.append(Place(Site(write, i), partial(self._adapt, f"{i}.{place}"), read=read))
        return places

    def _sublayers(self) -> tuple[str, ...]:
        return ("attention", "ffn") if self.sublayers == "both" else (self.sublayers,)

    def _adapt(self, name: str, weights: Weights, value: Tensor, source: Tensor, context: Context) -> Tensor:
        source = source[:, : value.shape[1]]
        z = ACTIVATIONS[self.activation](apply_dense(weights, f"{name}.down", source))
        return value + apply_dense(weights, f"{name}.up", z)
