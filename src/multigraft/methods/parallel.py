"""Modules beside a layer: they read what the layer reads and join its residual sum."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.methods.base import Context, LayerMethod, Place
from multigraft.methods.functional import linear, per_row
from multigraft.methods.stack import Spec, Weights

STD = 0.02  # of fresh weights, as BERT's


def dense(name: str, inputs: int, outputs: int, std: float = STD) -> dict[str, Spec]:
    """Specs of a linear map with a bias that starts at 0; `std=0` makes its output start at 0."""
    return {f"{name}.weight": Spec((outputs, inputs), std), f"{name}.bias": Spec((outputs,))}


def apply_dense(weights: Weights, name: str, x: Tensor) -> Tensor:
    """The linear map called `name`; x: B T I, gives B T O."""
    return linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


class ParallelMethod(LayerMethod):
    """`h' = LN(a + FFN(a) + TS(h))` with `TS(h)` from `branch` (arXiv 1902.02671, section 3.1).

    The residual is `a`, the attention sublayer's result, as in the released code and so in the published
    figures; the paper's equation writes `h`. In a pre-norm backbone, h is the normed input of the attention.
    """

    reads: Literal["layer_input", "ffn_input"] = Field(
        "layer_input", description="what the module reads: the layer's input, or the feed-forward's"
    )
    lhuc: bool = Field(False, description="scale the module's output by 2 sigmoid(r) per hidden unit")

    @abstractmethod
    def branch(self, layer: int, weights: Weights, h: Tensor, wanted: int, context: Context) -> Tensor:
        """TS(h) at the first `wanted` tokens: B T D to B wanted D."""

    def places(self, backbone: Backbone) -> list[Place]:
        return [
            Place(Site("layer_sum", i), partial(self._join, i), read=Site(self.reads, i))
            for i in self.indexes(backbone)
        ]

    def _join(self, layer: int, weights: Weights, value: Tensor, source: Tensor, context: Context) -> Tensor:
        output = self.branch(layer, weights, source, value.shape[1], context)
        if self.lhuc:
            output = output * per_row(2 * torch.sigmoid(weights[f"{layer}.lhuc"]))
        return value + output

    def lhuc_specs(self, backbone: Backbone) -> dict[str, Spec]:
        """The scales on the module's outputs, where asked for."""
        return {f"{i}.lhuc": Spec((backbone.width,)) for i in self.indexes(backbone) if self.lhuc}
