"""Optimizers for stacked experts: each row has its own state and step count, and only drawn rows move."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from multigraft.methods.stack import Stack


class RowOptimizer(ABC):
    """Moves chosen rows of a stack. `count`: N, the steps each expert has taken."""

    def __init__(self, stack: Stack, weight_decay: float) -> None:
        self.stack = stack
        self.weight_decay = weight_decay
        self.decayed = stack.decayed().to(stack.values.device)
        self.count = torch.zeros(len(stack.names), dtype=torch.int64)

    def step(self, experts: Sequence[int], learning_rate: float) -> None:
        """One step for `experts` (distinct, ascending) along the gradient in `stack.values.grad`."""
        values, grad = self.stack.values, self.stack.values.grad
        assert grad is not None
        self.count[list(experts)] += 1
        tensors = [values.data, grad, *self.state().values()]
        if len(experts) == len(self.stack.names):
            rows = tensors
        elif len(experts) == 1:
            rows = [tensor[experts[0] : experts[0] + 1] for tensor in tensors]
        else:
            index = torch.tensor(experts, device=values.device)
            rows = [tensor.index_select(0, index) for tensor in tensors]
        counts = self.count[list(experts)].to(values.device, torch.float32).unsqueeze(1)
        self._decay(rows[0], learning_rate)
        self._move(rows[0], rows[1], rows[2:], counts, learning_rate)
        if 1 < len(experts) < len(self.stack.names):
            for tensor, row in zip(tensors, rows, strict=True):
                if tensor is not grad:
                    tensor.index_copy_(0, index, row)

    def _decay(self, values: Tensor, learning_rate: float) -> None:
        if self.weight_decay:
            values.mul_(1 - learning_rate * self.weight_decay * self.decayed)

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """State tensors by name, each with a leading axis of N."""

    @abstractmethod
    def _move(self, values: Tensor, grad: Tensor, state: list[Tensor], counts: Tensor, learning_rate: float) -> None:
        """Update `values` (K F) and `state` in place; `counts`: K 1, the step each row is taking, from 1."""


class RowAdamW(RowOptimizer):
    """Adam with bias correction and decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101)."""

    betas = (0.9, 0.999)
    eps = 1e-8

    def __init__(self, stack: Stack, weight_decay: float) -> None:
        super().__init__(stack, weight_decay)
        self.mean = torch.zeros_like(stack.values, requires_grad=False)
        self.square = torch.zeros_like(stack.values, requires_grad=False)

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "square": self.square}

    def _move(self, values: Tensor, grad: Tensor, state: list[Tensor], counts: Tensor, learning_rate: float) -> None:
        mean, square = state
        first, second = self.betas
        mean.lerp_(grad, 1 - first)
        square.mul_(second).addcmul_(grad, grad, value=1 - second)
        # 1 - beta^count, which float32 would get wrong in the fifth digit for the first steps.
        corrections = [-torch.expm1(counts * math.log(beta)) for beta in (first, second)]
        size = learning_rate / corrections[0]
        denominator = (square / corrections[1]).sqrt_().add_(self.eps)
        values.sub_(mean.mul(size).div_(denominator))


class RowAdafactor(RowOptimizer):
    """Adafactor with a constant learning rate, no momentum and no scaling by parameter size.

    Shazeer & Stern 2018, arXiv 1804.04235, algorithm 4 and section 6: second moments of matrices are kept as
    row and column means, decay `1 - t^-0.8`, updates clipped at a root mean square of 1.
    """

    eps = 1e-30

    def __init__(self, stack: Stack, weight_decay: float) -> None:
        super().__init__(stack, weight_decay)
        n, device = len(stack.names), stack.values.device
        self.squares: dict[str, Tensor] = {}
        for name, spec in stack.specs.items():
            if len(spec.shape) > 1:
                self.squares[f"{name}/rows"] = torch.zeros(n, *spec.shape[:-1], device=device)
                self.squares[f"{name}/columns"] = torch.zeros(n, *spec.shape[:-2], spec.shape[-1], device=device)
            else:
                self.squares[name] = torch.zeros(n, *spec.shape, device=device)

    def state(self) -> dict[str, Tensor]:
        return self.squares

    def _move(self, values: Tensor, grad: Tensor, state: list[Tensor], counts: Tensor, learning_rate: float) -> None:
        sizes = [spec.size for spec in self.stack.specs.values()]
        named = dict(zip(self.squares, state, strict=True))
        for (name, spec), value, slope in zip(
            self.stack.specs.items(), values.split(sizes, 1), grad.split(sizes, 1), strict=True
        ):
            slope = slope.view(-1, *spec.shape)
            moments = [named[key] for key in (f"{name}/rows", f"{name}/columns", name) if key in named]
            # The padding of a narrow head, which has no gradient, must not make its update look small.
            entries = slope.flatten(1).count_nonzero(1).clamp(min=1)
            value.sub_(learning_rate * adafactor_direction(slope, moments, counts, self.eps, entries).flatten(1))


def adafactor_direction(
    grad: Tensor, moments: list[Tensor], counts: Tensor, eps: float, entries: Tensor | int
) -> Tensor:
    """Direction of an Adafactor step for K tensors at once; updates their `moments` in place.

    `grad`: K followed by the tensor's shape; `moments`: row and column means of a matrix, or the full squares
    of a vector; `counts`: K 1; `entries`: K, over how many values the update's root mean square is taken.
    """
    square = grad.square() + eps
    decay = 1 - counts.pow(-0.8)
    decay = decay.view(-1, *[1] * (grad.dim() - 1))
    if len(moments) == 2:
        rows, columns = moments
        rows.lerp_(square.mean(-1), (1 - decay).squeeze(-1).expand_as(rows))
        columns.lerp_(square.mean(-2), (1 - decay).squeeze(-1).expand_as(columns))
        scale = (rows / rows.mean(-1, keepdim=True)).rsqrt().unsqueeze(-1) * columns.rsqrt().unsqueeze(-2)
        update = grad * scale
    else:
        moments[0].lerp_(square, (1 - decay).expand_as(square))
        update = grad * moments[0].rsqrt()
    root = (update.flatten(1).square().sum(1) / entries).sqrt().view_as(decay)
    return update / root.clamp(min=1.0)


ROW_OPTIMIZERS: dict[str, type[RowOptimizer]] = {"adamw": RowAdamW, "adafactor": RowAdafactor}
