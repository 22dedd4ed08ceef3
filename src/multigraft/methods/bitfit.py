"""Biases only."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.errors import UserError
from multigraft.methods.base import Context, LayerMethod, Place
from multigraft.methods.functional import per_row
from multigraft.methods.stack import Spec, Weights


class BitFit(LayerMethod):
    """Every bias of a layer (linear maps and norms) has a difference per expert, which starts at 0."""

    name: ClassVar[str] = "bitfit"
    paper: ClassVar[str] = "Ben Zaken et al. 2022, arXiv 2106.10199, section 3"

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        specs = {
            f"{i}.{path}": Spec((width,)) for i in self.indexes(backbone) for path, width in biases(backbone, i).items()
        }
        if not specs:
            raise UserError(
                f"the layers of {backbone.name} have no biases", where=self.name, fix="choose another method"
            )
        return specs

    def places(self, backbone: Backbone) -> list[Place]:
        return [
            Place(Site("bias", i, path), partial(shift, f"{i}.{path}"))
            for i in self.indexes(backbone)
            for path in biases(backbone, i)
        ]


def biases(backbone: Backbone, layer: int) -> dict[str, int]:
    """Widths of a layer's biases by the path of the map or norm that has them."""
    modules = backbone.layer(layer).named_modules()
    return {path: module.bias.numel() for path, module in modules if getattr(module, "bias", None) is not None}


def shift(name: str, weights: Weights, value: Tensor, source: Tensor, context: Context) -> Tensor:
    """A `Change` that adds a tensor of the expert."""
    return value + per_row(weights[name])
