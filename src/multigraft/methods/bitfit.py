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
            f"{i}.{path}": Spec((width,))
            for i in self.indexes(backbone)
            for path, width in self._biases(backbone, i).items()
        }
        if not specs:
            raise UserError(
                f"the layers of {backbone.name} have no biases", where=self.name, fix="choose another method"
            )
        return specs

    def places(self, backbone: Backbone) -> list[Place]:
        return [
            Place(Site("bias", i, path), partial(self._shift, f"{i}.{path}"))
            for i in self.indexes(backbone)
            for path in self._biases(backbone, i)
        ]

    @staticmethod
    def _biases(backbone: Backbone, layer: int) -> dict[str, int]:
        modules = backbone.layer(layer).named_modules()
        return {path: module.bias.numel() for path, module in modules if getattr(module, "bias", None) is not None}

    def _shift(self, name: str, weights: Weights, value: Tensor, source: Tensor, context: Context) -> Tensor:
        return value + per_row(weights[name])
