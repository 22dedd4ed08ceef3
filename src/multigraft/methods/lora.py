"""Low-rank adaptation of the backbone's linear maps."""

from __future__ import annotations

import math
from functools import partial
from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.methods.base import Context, LayerMethod, Place
from multigraft.methods.functional import add_linear, linear
from multigraft.methods.stack import Spec, Weights

Map = Literal["q", "k", "v", "o", "gate", "up", "down", "cross_q", "cross_k", "cross_v", "cross_o"]


class LoRA(LayerMethod):
    """`y + (alpha / R) B A x` on chosen linear maps; B starts at 0, so a fresh expert changes nothing."""

    name: ClassVar[str] = "lora"
    paper: ClassVar[str] = "Hu et al. 2021, arXiv 2106.09685, section 4.1"

    rank: int = Field(8, gt=0, description="R")
    alpha: float = Field(16.0, gt=0, description="the update is scaled by alpha / R")
    maps: tuple[Map, ...] = Field(("q", "v"), min_length=1, description="linear maps of the layer that are adapted")
    dropout: float = Field(0.0, ge=0, lt=1, description="on the input of A")

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        specs: dict[str, Spec] = {}
        for i, part in self.adapted(backbone):
            inputs, outputs = backbone.linear(i, part)
            # The standard deviation of the uniform draw that PyTorch gives a fresh linear map.
            specs[f"{i}.{part}.a"] = Spec((self.rank, inputs), 1 / math.sqrt(3 * inputs))
            specs[f"{i}.{part}.b"] = Spec((outputs, self.rank))
        return specs

    def places(self, backbone: Backbone) -> list[Place]:
        return [
            Place(Site("linear", i, part), partial(self._update, f"{i}.{part}"), read=Site("linear_input", i, part))
            for i, part in self.adapted(backbone)
        ]

    def adapted(self, backbone: Backbone) -> list[tuple[int, Map]]:
        """Layers and their adapted maps; in an encoder-decoder, `cross_...` means its decoder's layers only."""
        layers = self.indexes(backbone)
        reads = [backbone.family.kind != "encoder_decoder" or backbone.causal(i) for i in layers]
        return [
            (i, part)
            for i, crosses in zip(layers, reads, strict=True)
            for part in self.maps
            if crosses or not part.startswith("cross_") or not any(reads)
        ]

    def _update(self, name: str, weights: Weights, value: Tensor, source: Tensor, context: Context) -> Tensor:
        dropped = F.dropout(source, self.dropout, training=context.training) if self.dropout else source
        narrow = linear(dropped, weights[f"{name}.a"]) * (self.alpha / self.rank)
        return add_linear(value, narrow, weights[f"{name}.b"])
