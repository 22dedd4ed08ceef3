"""Learning hidden unit contributions."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.methods.base import Context, LayerMethod, Place
from multigraft.methods.functional import per_row
from multigraft.methods.stack import Spec, Weights


class LHUC(LayerMethod):
    """Each hidden unit of a layer's output is scaled by `2 sigmoid(r)`; r starts at 0, which is the identity."""

    name: ClassVar[str] = "lhuc"
    paper: ClassVar[str] = "Swietojanski & Renals 2014; as a baseline in arXiv 1902.02671"

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        return {f"{i}.scale": Spec((backbone.width,)) for i in self.indexes(backbone)}

    def places(self, backbone: Backbone) -> list[Place]:
        return [Place(Site("layer", i), partial(self._scale, i)) for i in self.indexes(backbone)]

    def _scale(self, layer: int, weights: Weights, value: Tensor, source: Tensor, context: Context) -> Tensor:
        return value * per_row(2 * torch.sigmoid(weights[f"{layer}.scale"]))
