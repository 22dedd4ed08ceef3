"""One more encoder layer on top, for each task."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.methods.base import Context
from multigraft.methods.stack import Spec, Weights
from multigraft.methods.top import TopMethod, attention_specs, feed_specs


class TopLayer(TopMethod):
    """A whole encoder layer of the backbone's own D, H and inner width."""

    name: ClassVar[str] = "top_layer"
    paper: ClassVar[str] = "Stickland & Murray 2019, arXiv 1902.02671, section 3.2"
    identity: ClassVar[bool] = False

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        inner, _ = backbone.linear(0, "down")
        return attention_specs("attention", backbone.width) | feed_specs("ffn", backbone.width, inner)

    def transform(self, weights: Weights, h: Tensor, heads: int, context: Context) -> Tensor:
        return self.feed(weights, "ffn", self.attend(weights, "attention", h, heads, context), context)
