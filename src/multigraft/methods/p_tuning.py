"""P-tuning: a soft prompt that a small network makes from embeddings of its own."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.methods.base import Place
from multigraft.methods.front import PromptMethod
from multigraft.methods.functional import linear
from multigraft.methods.stack import Spec, Weights

LSTM_LAYERS = 2


class PTuning(PromptMethod):
    """`p = MLP(t)`, or `p = MLP(BiLSTM(t))`, of P virtual tokens t, all of which are trained and kept.

    The vectors stand in front of the text; the paper's templates may have them between its parts too.
    """

    name: ClassVar[str] = "p_tuning"
    paper: ClassVar[str] = "Liu et al. 2021, arXiv 2103.10385, section 2"

    length: int = Field(20, gt=0, description="P, positions in front of the text")
    encoder: Literal["mlp", "lstm"] = Field(
        "mlp", description="mlp: three linear maps with ReLU between; lstm: two bidirectional layers, then two maps"
    )
    width: int | None = Field(
        None, gt=0, description="R, inside the network; default E, for an lstm E / 2 in each direction"
    )

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        e, lstm = backbone.embedding_width, self.encoder == "lstm"
        r = self.width or (max(1, e // 2) if lstm else e)
        # An LSTM reads through all P: what a shorter prompt leaves free would be read too.
        specs = {"tokens": Spec((self.length, e), 1.0, ragged=not lstm)}
        if not lstm:
            return specs | _maps([e, r, r, e])
        for layer in range(LSTM_LAYERS):
            inputs, std = (2 * r if layer else e), 1 / math.sqrt(3 * r)
            for way in ("forward", "backward"):
                at = f"lstm.{layer}.{way}"
                specs |= {f"{at}.inputs": Spec((4 * r, inputs), std), f"{at}.states": Spec((4 * r, r), std)}
                specs |= {f"{at}.input_bias": Spec((4 * r,)), f"{at}.state_bias": Spec((4 * r,))}
        return specs | _maps([2 * r, 2 * r, e])

    def places(self, backbone: Backbone) -> list[Place]:
        return []

    def vectors(self, weights: Weights) -> Tensor:
        return weights.derive("prompt", self._encode)

    def _encode(self, weights: Weights) -> Tensor:
        """The prompts of one expert or of E: P E or E P E."""
        x, maps = (_lstm(weights), 2) if self.encoder == "lstm" else (weights["tokens"], 3)
        for index in range(maps):
            x = linear(F.relu(x) if index else x, weights[f"{index}.weight"], weights[f"{index}.bias"])
        return x


def _maps(widths: list[int]) -> dict[str, Spec]:
    """Linear maps from each width to the next, spread as PyTorch spreads fresh ones."""
    specs: dict[str, Spec] = {}
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        specs[f"{index}.weight"] = Spec((outputs, inputs), 1 / math.sqrt(3 * inputs))
        specs[f"{index}.bias"] = Spec((outputs,))
    return specs


def _lstm(weights: Weights) -> Tensor:
    """The states of both directions, P 2R, or of one expert after the other, E P 2R."""
    tokens = weights["tokens"]
    flat = [
        weights[f"lstm.{layer}.{way}.{part}"]
        for layer in range(LSTM_LAYERS)
        for way in ("forward", "backward")
        for part in ("inputs", "states", "input_bias", "state_bias")
    ]
    if tokens.dim() == 2:
        return _states(tokens, flat)
    return torch.stack([_states(own, [tensor[n] for tensor in flat]) for n, own in enumerate(tokens)])


def _states(tokens: Tensor, flat: list[Tensor]) -> Tensor:
    zeros = tokens.new_zeros(2 * LSTM_LAYERS, 1, flat[1].shape[1])
    return torch.lstm(tokens[None], (zeros, zeros), flat, True, LSTM_LAYERS, 0.0, False, True, True)[0][0]
