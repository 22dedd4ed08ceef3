"""LoRA updates: `Delta W = (alpha / R) B A`, added up, compared and factored again without being written out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multigraft.library.merging.base import Shape


@dataclass(frozen=True)
class Update:
    """`scale B A`, outputs x inputs, with b: outputs R and a: R inputs. It is a leaf of which blocks are computed."""

    b: Tensor
    a: Tensor
    scale: float

    @property
    def shape(self) -> Shape:
        return len(self.b), self.a.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return torch.promote_types(self.b.dtype, self.a.dtype)

    def block(self, start: int, stop: int) -> Tensor:
        inputs = self.a.shape[1]
        first, last = start // inputs, -(-stop // inputs)
        rows = self.b[first:last].float() @ self.a.float()
        return rows.mul_(self.scale).flatten()[start - first * inputs : stop - first * inputs]


def inner_products(updates: Sequence[Update]) -> Tensor:
    """Inner products of N updates with one another, by their factors: N x N, float64."""
    pairs = [[_inner_product(one, other) for other in updates] for one in updates]
    return torch.tensor(pairs, dtype=torch.float64)


def _inner_product(one: Update, other: Update) -> float:
    outer = one.b.double().T @ other.b.double()
    inner = one.a.double() @ other.a.double().T
    return one.scale * other.scale * float((outer * inner).sum())


@dataclass(frozen=True)
class Factored:
    """`B A` of a lower rank than what it stands for, and how far it is from that; squared Frobenius norms."""

    b: Tensor  # outputs x R
    a: Tensor  # R x inputs
    lost: float  # of the difference
    whole: float  # of what was factored

    @property
    def error(self) -> float:
        """The relative error: the norm of the difference over that of the whole."""
        return (self.lost / self.whole) ** 0.5 if self.whole else 0.0


def factor_sum(updates: Sequence[Update], shares: Sequence[float], rank: int) -> Factored:
    """The best B A of a rank for the sum of updates, each times its share.

    The sum is `[s_1 B_1 ... s_N B_N] [A_1; ...; A_N]`. With QR of either, `Q_b R_b (Q_a R_a)'`, its singular values
    are those of `R_b R_a'`, which has as many rows as all ranks together.
    """
    b = torch.cat([update.b.double() * (update.scale * share) for update, share in zip(updates, shares)], dim=1)
    a = torch.cat([update.a.double() for update in updates])
    q_b, r_b = torch.linalg.qr(b)
    q_a, r_a = torch.linalg.qr(a.T)
    u, values, v = torch.linalg.svd(r_b @ r_a.T, full_matrices=False)
    return _cut(q_b @ u, values, v @ q_a.T, rank)


def factor(matrix: Tensor, rank: int) -> Factored:
    """The best B A of a rank for a matrix, outputs x inputs."""
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    return _cut(u, values, v, rank)


def _cut(u: Tensor, values: Tensor, v: Tensor, rank: int) -> Factored:
    """The first `rank` singular values, their roots in either factor; zeros where there are fewer."""
    kept = min(rank, len(values))
    b, a = u.new_zeros(len(u), rank), v.new_zeros(rank, v.shape[1])
    roots = values[:kept].sqrt()
    b[:, :kept], a[:kept] = u[:, :kept] * roots, roots[:, None] * v[:kept]
    squares = values.double().square()
    return Factored(b, a, float(squares[kept:].sum()), float(squares.sum()))
