"""All weights of the layers."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.methods.base import Context, LayerMethod, Place
from multigraft.methods.bitfit import biases, shift
from multigraft.methods.functional import add_linear
from multigraft.methods.stack import Spec, Weights


class Full(LayerMethod):
    """Every linear map and every bias of a layer has a difference per expert, which starts at 0: `(W + ΔW) x + b + Δb`.

    Full fine-tuning, kept as a difference to the backbone; embeddings and the gains of norms stay as they are.
    """

    name: ClassVar[str] = "full"
    paper: ClassVar[str] = "Ilharco et al. 2023, arXiv 2212.04089, section 2 (task vectors)"

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        specs: dict[str, Spec] = {}
        for i in self.indexes(backbone):
            for part in backbone.maps(i):
                inputs, outputs = backbone.linear(i, part)
                specs[f"{i}.{part}"] = Spec((outputs, inputs))
            specs |= {f"{i}.bias.{path}": Spec((width,)) for path, width in biases(backbone, i).items()}
        return specs

    def places(self, backbone: Backbone) -> list[Place]:
        return [
            place
            for i in self.indexes(backbone)
            for place in (
                *(
                    Place(Site("linear", i, part), partial(_update, f"{i}.{part}"), read=Site("linear_input", i, part))
                    for part in backbone.maps(i)
                ),
                *(Place(Site("bias", i, path), partial(shift, f"{i}.bias.{path}")) for path in biases(backbone, i)),
            )
        ]


def _update(name: str, weights: Weights, value: Tensor, source: Tensor, context: Context) -> Tensor:
    return add_linear(value, source, weights[name])
