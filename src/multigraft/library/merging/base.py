"""What a merge declares, and what it is given: one named tensor of N models at a time, in blocks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from multigraft.errors import UserError
from multigraft.registry import Registry
from multigraft.settings import Record, build

BLOCK = 2**20  # entries that are in memory of each model at a time

Score = Callable[[tuple[float, ...]], float]  # of the merge with these N weights, on held-out data; higher is better
Shape = tuple[int, ...]


class Leaf(Protocol):
    """A tensor that is somewhere: in memory, in a file, or a product."""

    @property
    def shape(self) -> Shape: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def block(self, start: int, stop: int) -> Tensor:
        """The entries from `start` to `stop` of the flat tensor; nobody writes to them."""


@dataclass(frozen=True)
class Held:
    """A tensor in memory."""

    tensor: Tensor

    @property
    def shape(self) -> Shape:
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.tensor.dtype

    def block(self, start: int, stop: int) -> Tensor:
        return self.tensor.detach().reshape(-1)[start:stop]


@dataclass(frozen=True)
class Tensors:
    """One named tensor of N models. What is merged are its differences to `base`, or without one its values.

    `weights`: N, as `Merge.weigh` gave them. `statistics`: N, for merges that need them.
    """

    name: str
    leaves: tuple[Leaf, ...]
    weights: tuple[float, ...]
    base: Leaf | None = None
    statistics: tuple[Leaf, ...] | None = None

    @property
    def shape(self) -> Shape:
        """Of each of the N tensors."""
        return self.leaves[0].shape

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        """The type that holds the values of all of them."""
        return reduce(torch.promote_types, [leaf.dtype for leaf in self.leaves])

    @property
    def precision(self) -> torch.dtype:
        """The type that is computed in: float32, or float64 where the tensors have it."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def spans(self) -> Iterator[tuple[int, int]]:
        """Where blocks start and stop."""
        return ((start, min(start + BLOCK, self.size)) for start in range(0, self.size, BLOCK))

    def difference(self, model: int, start: int, stop: int) -> Tensor:
        """What one model has to merge, a part of it, flat."""
        value = self.leaves[model].block(start, stop).to(self.precision)
        return value if self.base is None else value - self.base.block(start, stop).to(self.precision)

    def blocks(self) -> Iterator[list[Tensor]]:
        """What there is to merge, N flat tensors at a time; they may be the models' own and are not written to."""
        for start, stop in self.spans():
            yield [self.difference(model, start, stop) for model in range(len(self.leaves))]

    def whole(self, model: int) -> Tensor:
        """All of what one model has to merge, in its shape."""
        return self.difference(model, 0, self.size).view(self.shape)

    def products(self) -> Tensor:
        """Inner products of the N with one another: N x N, float64."""
        total = torch.zeros(len(self.leaves), len(self.leaves), dtype=torch.float64)
        for values in self.blocks():
            flat = torch.stack(values).double()
            total += flat @ flat.T
        return total


class Merge(Record, ABC):
    """A way to merge. Its fields are its settings; one subclass in one file of this package.

    Class attributes: `name` as on the command line, `paper` the source; `needs` what it cannot do without: "base",
    "weights", "statistics" or "score"; `takes` what it can do with; `exactly` how many models, None for any number
    from 2; `signed` whether weights may be negative; `symmetric` whether the order of the models is nothing to it;
    `idempotent` whether, with its default settings, copies of one model give that model.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    takes: ClassVar[frozenset[str]] = frozenset()
    exactly: ClassVar[int | None] = None
    signed: ClassVar[bool] = False
    symmetric: ClassVar[bool] = True
    idempotent: ClassVar[bool] = False

    @abstractmethod
    def merge(self, tensors: Tensors) -> Iterator[Tensor]:
        """The merged differences, flat, in order, in pieces of any size."""

    def weigh(self, weights: Sequence[float] | None, count: int, score: Score | None) -> tuple[float, ...]:
        """One number for each of N models, once for all their tensors: those given, else ones."""
        return tuple(weights) if weights is not None else (1.0,) * count

    def check_tensor(self, name: str, shape: Shape, statistics: Sequence[Shape | None]) -> None:
        """Raises UserError unless the statistics of a tensor, None where a model has none, are what it needs."""

    def check(
        self, count: int, *, weights: Sequence[float] | None, base: bool, statistics: int | None, score: bool
    ) -> None:
        """Raises UserError, before anything is read, when it is given too little, or what it has no use for."""
        if count < 2 or self.exactly not in (None, count):
            wanted = "two or more" if self.exactly is None else f"exactly {self.exactly}"
            raise UserError(f"merges {wanted} models, got {count}", where=self.name)
        given = {"base": base, "weights": weights is not None, "statistics": statistics is not None, "score": score}
        for what, there in given.items():
            if what in self.needs and not there:
                raise UserError(f"needs {_WHAT[what][0]}", where=self.name, fix=_WHAT[what][1])
            if there and what not in self.needs | self.takes | {"base"}:
                raise UserError(f"has no use for {_WHAT[what][0]}", where=self.name, fix="leave them out")
        if statistics not in (None, count):
            raise UserError(f"{statistics} statistics for {count} models", where=self.name, fix="give one of each")
        if weights is not None:
            self._check_weights(weights, count)

    def _check_weights(self, weights: Sequence[float], count: int) -> None:
        if len(weights) != count:
            raise UserError(f"{len(weights)} weights for {count} models", where=self.name, fix="give one of each")
        if not all(map(math.isfinite, weights)):
            raise UserError("a weight is no finite number", where=self.name)
        if not self.signed and (min(weights) < 0 or not any(weights)):
            raise UserError("weights are at least 0, and not all 0", where=self.name)


_WHAT = {
    "base": ("the weights that the models were trained from", "give --base"),
    "weights": ("weights", "give --weights, one number for each model"),
    "statistics": ("statistics of the models", "give --statistics, one file for each model"),
    "score": ("a score of weights on held-out data", "call it from Python, with a function that scores them"),
}


class Combination(Merge):
    """A merge whose result is a sum of what it is given, each with one coefficient for the whole tensor.

    For LoRA experts such a sum is taken of their factors, and no matrix of the backbone's size is ever made.
    """

    def coefficients(self, weights: tuple[float, ...], products: Callable[[], Tensor]) -> tuple[float, ...]:
        """N coefficients from the N weights, and from the inner products of the N tensors, N x N, if asked for."""
        return weights

    def merge(self, tensors: Tensors) -> Iterator[Tensor]:
        shares = self.coefficients(tensors.weights, tensors.products)
        for values in tensors.blocks():
            yield combine(values, shares)


def combine(values: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """The sum of tensors, each times its share; those with the share 0 are left out, whatever they hold."""
    used = [(value, share) for value, share in zip(values, shares, strict=True) if share]
    if not used:
        return torch.zeros_like(values[0])
    total = used[0][0] * used[0][1]
    for value, share in used[1:]:
        total.add_(value, alpha=share)
    return total


def merged(merge: Merge, tensors: Tensors) -> Iterator[Tensor]:
    """The values of the merged tensor: flat pieces, in order, in the type of the models'."""
    start = 0
    for piece in merge.merge(tensors):
        if tensors.base is not None:
            piece = piece + tensors.base.block(start, start + len(piece)).to(piece.dtype)
        yield piece.to(tensors.dtype)
        start += len(piece)


def merged_tensor(merge: Merge, tensors: Tensors) -> Tensor:
    """The merged tensor, whole."""
    pieces = list(merged(merge, tensors))
    return (torch.cat(pieces) if pieces else torch.empty(0, dtype=tensors.dtype)).view(tensors.shape)


MERGES: Registry[Merge] = Registry("merge", "multigraft.library.merging", "multigraft.library.merging.base:Merge")


def parse_merge(name: str, settings: dict[str, object] | None = None) -> Merge:
    """A merge by its name and settings. Raises UserError with the nearest known name."""
    return build(MERGES.get(name), settings or {}, name)
