"""Output heads: a bank too, so that a batch may mix classes and numbers of many tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from multigraft.backbones.load import Backbone
from multigraft.methods.functional import linear
from multigraft.methods.stack import Spec, Stack, Weights, fresh_tensors

Pooling = Literal["first", "mean"]
PoolerKind = Literal["shared", "per_task", "none"]
STD = 0.02


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """One vector for each row: its first token, or the mean over its tokens; hidden: B T D, mask: B T; gives B D."""
    if pooling == "first":
        return hidden[:, 0]
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1)


class Heads(nn.Module):
    """`W · tanh(P x + p) + b` for each of N tasks; P is shared by all, one per task, or left out.

    `outputs[name]` is the number of values of a task's head: its fixed options, or 1 for a number and for
    options that come with the row. Stored at the width C of the widest head; what is beyond a task's own
    is masked and stays 0. The shared pooler starts from the pretrained one where the backbone has it.
    Computed in float32 also under autocast: bfloat16 would tie numbers that differ in the third digit.
    """

    def __init__(
        self, backbone: Backbone, outputs: Mapping[str, int], *, pooler: PoolerKind = "shared", seed: int = 0
    ) -> None:
        super().__init__()
        d, width = backbone.width, max(outputs.values())
        self.outputs = dict(outputs)
        self.pooler_kind = pooler
        specs = {"weight": Spec((width, d), STD), "bias": Spec((width,))}
        if pooler == "per_task":
            specs |= {"pooler.weight": Spec((d, d), STD), "pooler.bias": Spec((d,))}
        self.stack = Stack(specs, list(outputs), seed)
        for name, c in outputs.items():
            # Drawn at its own width, so that it starts as it does without wider heads beside it.
            own = {**specs, "weight": Spec((c, d), STD), "bias": Spec((c,))}
            self.load_expert(name, fresh_tensors(own, name, seed))
        self.pooler: nn.Linear | None = None
        if pooler == "shared":
            self.pooler = _shared_pooler(backbone, seed)
        if pooler == "per_task" and backbone.pooler is not None:
            with torch.no_grad():
                for name in outputs:
                    start = {"pooler.weight": backbone.pooler.weight, "pooler.bias": backbone.pooler.bias}
                    self.load_expert(name, {**self.expert(name), **start})

    def forward(self, pooled: Tensor, experts: Sequence[int], local: Tensor | None) -> Tensor:
        """Values of each row's own head: B C, float32; pooled: B D, `experts` and `local` as in `Stack.select`."""
        with torch.autocast(pooled.device.type, enabled=False):
            x = pooled.to(self.stack.values.dtype)
            weights = self.stack.select(experts, local)
            if self.pooler is not None:
                x = torch.tanh(self.pooler(x))
            elif self.pooler_kind == "per_task":
                x = torch.tanh(_row_linear(x, weights, "pooler.weight", "pooler.bias"))
            return _row_linear(x, weights, "weight", "bias")

    def expert(self, name: str) -> dict[str, Tensor]:
        """A task's own head, without the padding up to C."""
        tensors = self.stack.expert(name)
        c = self.outputs[name]
        return {**tensors, "weight": tensors["weight"][:c], "bias": tensors["bias"][:c]}

    def load_expert(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite a task's head. Raises UserError when the shapes are not its own."""
        width, c = self.stack.specs["bias"].shape[0], self.outputs[name]
        widened = dict(tensors)
        for key in ("weight", "bias"):
            if key in tensors and tensors[key].shape[:1] == (c,):
                padding = tensors[key].new_zeros((width - c, *tensors[key].shape[1:]))
                widened[key] = torch.cat([tensors[key], padding])
        self.stack.load_expert(name, widened)

    def size(self, name: str) -> int:
        """Number of parameters of a task's head."""
        return sum(tensor.numel() for tensor in self.expert(name).values())


def _shared_pooler(backbone: Backbone, seed: int) -> nn.Linear:
    pooler = nn.Linear(backbone.width, backbone.width)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        if backbone.pooler is not None:
            pooler.load_state_dict(backbone.pooler.state_dict())
        else:
            pooler.weight.copy_(torch.randn(pooler.weight.shape, generator=generator) * STD)
            pooler.bias.zero_()
    return pooler


def _row_linear(x: Tensor, weights: Weights, weight: str, bias: str) -> Tensor:
    return linear(x.unsqueeze(1), weights[weight], weights[bias]).squeeze(1)
