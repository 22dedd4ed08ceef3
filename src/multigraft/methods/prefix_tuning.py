"""Prefix tuning: trained keys and values in front of those of every attention."""

from __future__ import annotations

import math
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.errors import UserError
from multigraft.methods.base import Context, Place
from multigraft.methods.front import PromptMethod
from multigraft.methods.functional import linear
from multigraft.methods.stack import Spec, Weights

STD = 0.02  # of fresh keys and values: they take up little attention


class PrefixTuning(PromptMethod):
    """`attention(q, [K_prefix; K], [V_prefix; V])` in every layer, with P keys and values for each.

    What the maps of keys and values give at the P positions in front is replaced; so where a family norms or rotates
    keys, it does so with these. With `width`, keys and values are `W tanh(U t + u) + w` of P virtual tokens t, with
    networks of their own for an encoder, a decoder and its attention to the encoder; all of it is kept.
    """

    name: ClassVar[str] = "prefix_tuning"
    paper: ClassVar[str] = "Li & Liang 2021, arXiv 2101.00190, sections 4.2 and 4.3"

    length: int = Field(20, gt=0, description="P, keys and values in front of each attention's")
    width: int | None = Field(None, gt=0, description="R, of the network of section 4.3; null: keys and values as such")
    attentions: Literal["every", "decoder"] = Field(
        "every", description="every: also the encoder's, and the decoder's to the encoder; decoder: its own only"
    )

    def stacks(self, backbone: Backbone) -> tuple[int, ...]:
        every = tuple(range(len(backbone.family.stacks)))
        return every if self.attentions == "every" else every[-1:]

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        specs: dict[str, Spec] = {}
        for kind, maps in self._maps(backbone).items():
            if self.width is not None:
                d = backbone.width
                specs |= {f"{kind}.tokens": Spec((self.length, d), 1.0, ragged=True)}
                specs |= {f"{kind}.weight": Spec((self.width, d), _spread(d)), f"{kind}.bias": Spec((self.width,))}
            for layer, part in maps:
                _, outputs = backbone.linear(layer, part)
                at = f"{layer}.{part}"
                if self.width is None:
                    specs[at] = Spec((self.length, outputs), STD, ragged=True)
                else:
                    specs[f"{at}.weight"] = Spec((outputs, self.width), _spread(self.width))
                    specs[f"{at}.bias"] = Spec((outputs,))
        return specs

    def places(self, backbone: Backbone) -> list[Place]:
        return [
            Place(Site("linear", layer, part), partial(self._replace, kind, f"{layer}.{part}"))
            for kind, maps in self._maps(backbone).items()
            for layer, part in maps
        ]

    def vectors(self, weights: Weights) -> None:
        return None

    def _maps(self, backbone: Backbone) -> dict[str, list[tuple[int, str]]]:
        """Layer and map of all keys and values, by the kind of attention."""
        own = {"encoder": [i for i in range(backbone.depth) if not backbone.causal(i)]}
        own["decoder"] = [i for i in range(backbone.depth) if backbone.causal(i)]
        maps = {kind: [(i, part) for i in layers for part in ("k", "v")] for kind, layers in own.items()}
        if backbone.family.kind == "encoder_decoder":
            maps["cross"] = [(i, part) for i in own["decoder"] for part in ("cross_k", "cross_v")]
        if self.attentions == "decoder" and not own["decoder"]:
            raise UserError(f"{backbone.name} has no decoder", where=f"{self.name}.attentions", fix="say every")
        return {kind: maps[kind] for kind in maps if maps[kind] and self.attentions in ("every", kind)}

    def _replace(
        self, kind: str, name: str, weights: Weights, value: Tensor, source: Tensor, context: Context
    ) -> Tensor:
        front = context.front
        if front is None or not front.inside:  # they are in the cache
            return value
        prefix = weights[name] if self.width is None else weights.derive(name, partial(self._encode, kind, name))
        prefix = prefix[..., -front.width :, :].expand(len(value), -1, -1).to(value.dtype)
        return torch.cat([prefix, value[:, front.width :]], dim=1)

    @staticmethod
    def _encode(kind: str, name: str, weights: Weights) -> Tensor:
        """Keys or values of one layer, of one expert or of E: P D or E P D."""
        inner = weights.derive(f"{kind}.inner", partial(_inner, kind))
        return linear(inner, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _inner(kind: str, weights: Weights) -> Tensor:
    return torch.tanh(linear(weights[f"{kind}.tokens"], weights[f"{kind}.weight"], weights[f"{kind}.bias"]))


def _spread(inputs: int) -> float:
    """Standard deviation of the uniform draw that PyTorch gives a fresh linear map."""
    return 1 / math.sqrt(3 * inputs)
