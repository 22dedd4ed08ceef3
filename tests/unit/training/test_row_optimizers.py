from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from multigraft.methods.stack import Spec, Stack
from multigraft.training.optimizers import DenseAdafactor
from multigraft.training.row_optimizers import ROW_OPTIMIZERS, RowAdafactor, RowAdamW, RowOptimizer

SPECS = {"matrix": Spec((3, 4), 0.5), "bias": Spec((4,), 0.5), "cube": Spec((2, 3, 2), 0.5)}
NAMES = ("a", "b", "c", "d")
# The experts drawn at each step: one, some, all; in the end each has another step count.
DRAWS = ([2], [0, 2], [0, 1, 2, 3], [1, 3], [2], [0, 1, 2], [3])
RATES = (0.1, 0.05, 0.2, 0.1, 0.1, 0.03, 0.2)


def gradients(stack: Stack) -> list[Tensor]:
    """A gradient for every step, of very different sizes."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(stack.values.shape, generator=generator) * 10 ** (i % 4 - 2) for i in range(len(DRAWS))]


def steps_of(expert: int) -> list[int]:
    return [number for number, experts in enumerate(DRAWS) if expert in experts]


def named(stack: Stack, row: Tensor) -> dict[str, Tensor]:
    """A row of numbers as the tensors it stands for."""
    parts = row.split([spec.size for spec in stack.specs.values()])
    return {name: part.view(spec.shape) for (name, spec), part in zip(stack.specs.items(), parts, strict=True)}


def run(optimizer: RowOptimizer) -> None:
    for experts, rate, grad in zip(DRAWS, RATES, gradients(optimizer.stack), strict=True):
        optimizer.stack.values.grad = grad.clone()
        optimizer.step(experts, rate)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adamw_is_torch_adamw_for_each_expert(decay: float) -> None:
    stack = Stack(SPECS, NAMES, seed=0)
    starts, grads = [stack.expert(name) for name in NAMES], gradients(stack)
    optimizer = RowAdamW(stack, decay)
    run(optimizer)
    for index, name in enumerate(NAMES):
        alone = {key: nn.Parameter(tensor) for key, tensor in starts[index].items()}
        matrices, others = (
            [p for p in alone.values() if p.dim() > 1],
            [p for p in alone.values() if p.dim() == 1],
        )
        reference = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
        )
        for step in steps_of(index):
            for key, tensor in named(stack, grads[step][index]).items():
                alone[key].grad = tensor.clone()
            for group in reference.param_groups:
                group["lr"] = RATES[step]
            reference.step()
        for key, tensor in stack.expert(name).items():
            torch.testing.assert_close(tensor, alone[key].detach(), rtol=1e-6, atol=1e-6)
    assert optimizer.count.tolist() == [len(steps_of(index)) for index in range(len(NAMES))]


class PlainAdafactor:
    """Algorithm 4 of arXiv 1804.04235 for one tensor, as nested lists and loops."""

    def __init__(self, values: Tensor, decay: float) -> None:
        self.shape, self.decay, self.t = values.shape, decay, 0
        self.values = values.double().clone()
        self.rows: dict[Any, float] = {}
        self.columns: dict[Any, float] = {}

    def step(self, grad: Tensor, rate: float) -> None:
        self.t += 1
        beta, g = 1 - self.t**-0.8, grad.double()
        update = torch.zeros_like(g)
        if g.dim() == 1:
            for i in range(len(g)):
                self.rows[i] = beta * self.rows.get(i, 0.0) + (1 - beta) * (float(g[i]) ** 2 + 1e-30)
                update[i] = g[i] / math.sqrt(self.rows[i])
        else:
            n, m = g.shape[-2:]
            for k, matrix in enumerate(g.reshape(-1, n, m)):
                self._matrix(k, matrix, beta, update.view(-1, n, m)[k])
        size = math.sqrt(sum(float(u) ** 2 for u in update.flatten()) / update.numel())
        if self.decay and g.dim() > 1:
            self.values *= 1 - rate * self.decay
        self.values -= rate * update / max(1.0, size)

    def _matrix(self, k: int, g: Tensor, beta: float, update: Tensor) -> None:
        n, m = g.shape
        square = [[float(g[i, j]) ** 2 + 1e-30 for j in range(m)] for i in range(n)]
        for i in range(n):
            self.rows[k, i] = beta * self.rows.get((k, i), 0.0) + (1 - beta) * sum(square[i]) / m
        for j in range(m):
            mean = sum(square[i][j] for i in range(n)) / n
            self.columns[k, j] = beta * self.columns.get((k, j), 0.0) + (1 - beta) * mean
        mean = sum(self.rows[k, i] for i in range(n)) / n
        for i in range(n):
            for j in range(m):
                update[i, j] = g[i, j] / math.sqrt(self.rows[k, i] * self.columns[k, j] / mean)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adafactor_is_the_paper_s_for_each_expert(decay: float) -> None:
    stack = Stack(SPECS, NAMES, seed=0)
    starts, grads = [stack.expert(name) for name in NAMES], gradients(stack)
    run(RowAdafactor(stack, decay))
    for index, name in enumerate(NAMES):
        plain = {key: PlainAdafactor(tensor, decay) for key, tensor in starts[index].items()}
        for step in steps_of(index):
            for key, tensor in named(stack, grads[step][index]).items():
                plain[key].step(tensor, RATES[step])
        for key, tensor in stack.expert(name).items():
            torch.testing.assert_close(tensor.double(), plain[key].values, rtol=1e-5, atol=1e-6)


def test_the_padding_of_a_narrow_head_changes_nothing() -> None:
    narrow = Stack({"weight": Spec((2, 3), 0.5), "bias": Spec((2,), 0.5)}, ["a"], seed=0)
    wide = Stack({"weight": Spec((5, 3)), "bias": Spec((5,))}, ["a"], seed=0)
    own = narrow.expert("a")
    wide.load_expert(
        "a", {"weight": torch.cat([own["weight"], torch.zeros(3, 3)]), "bias": torch.cat([own["bias"], torch.zeros(3)])}
    )
    optimizers = [RowAdafactor(narrow, 0.1), RowAdafactor(wide, 0.1)]
    for step in range(4):
        grad = torch.randn(8, generator=torch.Generator().manual_seed(step))
        narrow.values.grad = grad[None]
        wide.values.grad = torch.cat([grad[:6], torch.zeros(9), grad[6:], torch.zeros(3)])[None]
        for optimizer in optimizers:
            optimizer.step([0], 0.1)
    found = wide.expert("a")
    torch.testing.assert_close(found["weight"][:2], narrow.expert("a")["weight"])
    torch.testing.assert_close(found["bias"][:2], narrow.expert("a")["bias"])
    assert not found["weight"][2:].any()
    assert not found["bias"][2:].any()


def test_dense_adafactor_is_the_paper_s() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix, vector, idle = (nn.Parameter(torch.randn(*s, generator=generator)) for s in ((3, 4), (5,), (2, 2)))
    before = idle.detach().clone()
    plain = [PlainAdafactor(matrix.detach(), 0.2), PlainAdafactor(vector.detach(), 0.0)]
    groups: list[dict[str, object]] = [
        {"params": [matrix, idle], "weight_decay": 0.2},
        {"params": [vector], "weight_decay": 0.0},
    ]
    optimizer = DenseAdafactor(groups, 0.1)
    for step in range(5):
        for parameter, reference in zip((matrix, vector), plain, strict=True):
            parameter.grad = torch.randn(parameter.shape, generator=generator) * 10 ** (step - 2)
            reference.step(parameter.grad, 0.1)
        optimizer.step()
    for parameter, reference in zip((matrix, vector), plain, strict=True):
        torch.testing.assert_close(parameter.detach().double(), reference.values, rtol=1e-5, atol=1e-6)
    assert torch.equal(idle, before)
    assert idle not in optimizer.state


@pytest.mark.parametrize("name", sorted(ROW_OPTIMIZERS))
@pytest.mark.parametrize("drawn", [[1], [1, 3], [3]], ids=str)
def test_what_is_not_drawn_does_not_move(name: str, drawn: Sequence[int]) -> None:
    stack = Stack(SPECS, NAMES, seed=0)
    optimizer = ROW_OPTIMIZERS[name](stack, 0.1)
    run(optimizer)
    before = {"values": stack.values.detach().clone(), "count": optimizer.count.clone()}
    before |= {key: value.clone() for key, value in optimizer.state().items()}
    stack.values.grad = torch.ones_like(stack.values)
    optimizer.step(drawn, 0.1)
    after = {"values": stack.values.detach(), "count": optimizer.count, **optimizer.state()}
    others = [index for index in range(len(NAMES)) if index not in drawn]
    for key, tensor in after.items():
        assert torch.equal(tensor[others], before[key][others]), key
        assert all(not torch.equal(tensor[index], before[key][index]) for index in drawn), key
