"""How much models get in each other's way when they are merged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from multigraft.library.merging.base import Tensors
from multigraft.settings import Record

Matrix = tuple[tuple[float, ...], ...]


class Agreement(Record):
    """How what N models learned agrees, in one tensor or in all.

    conflicts: of the entries that any model changes, the share in which one model's change is positive and another's
    negative. cosine: N x N; 0 with a model that changes nothing.
    """

    entries: int  # that any model changes
    conflicts: float
    cosine: Matrix


class Interference(Record):
    """Of task vectors, which are differences to a backbone: over all tensors, and by tensor."""

    models: tuple[str, ...]
    overall: Agreement
    tensors: dict[str, Agreement]

    def worst(self, count: int) -> list[str]:
        """The tensors with the largest share of conflicts, worst first."""
        return sorted(self.tensors, key=lambda name: -self.tensors[name].conflicts)[:count]


def interference(
    models: Sequence[str], tensors: Iterable[Tensors], products: Callable[[Tensors], Tensor] = Tensors.products
) -> Interference:
    """Read every tensor once, in blocks, and count. `products` gives the inner products of one tensor of N models."""
    by_name, inner, changed, conflicts = {}, torch.zeros(len(models), len(models), dtype=torch.float64), 0, 0
    for each in tensors:
        own = products(each)
        touched, opposed = _signs(each)
        by_name[each.name] = Agreement(entries=touched, conflicts=opposed / max(1, touched), cosine=_cosine(own))
        inner, changed, conflicts = inner + own, changed + touched, conflicts + opposed
    overall = Agreement(entries=changed, conflicts=conflicts / max(1, changed), cosine=_cosine(inner))
    return Interference(models=tuple(models), overall=overall, tensors=by_name)


def _signs(tensors: Tensors) -> tuple[int, int]:
    """Entries that any model changes, and those of them that models change in opposite ways."""
    touched = opposed = 0
    for values in tensors.blocks():
        up, down = torch.zeros_like(values[0], dtype=torch.bool), torch.zeros_like(values[0], dtype=torch.bool)
        for value in values:
            up |= value > 0
            down |= value < 0
        touched += int((up | down).sum())
        opposed += int((up & down).sum())
    return touched, opposed


def _cosine(products: Tensor) -> Matrix:
    lengths = products.diagonal().clamp(min=0).sqrt()
    scale = torch.where(lengths > 0, 1 / lengths, 0)
    cosine = (products * scale[:, None] * scale).clamp(-1, 1)
    return tuple(tuple(row) for row in cosine.tolist())
