"""TIES: trim, elect a sign, and average those that have it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from multigraft.library.merging.base import Merge, Tensors, combine


class Ties(Merge):
    """Of each task vector the largest entries are kept; of each entry, the mean over those of the elected sign.

    The sign of an entry is that of the weighted sum; where that is 0, no sign is elected and the entry is 0. The mean
    is weighted too. The paper trims over all tensors of a model together; here, as in PEFT and mergekit, every tensor
    keeps its own largest entries, so that no tensor is lost whole.
    """

    name: ClassVar[str] = "ties"
    paper: ClassVar[str] = "Yadav et al. 2023, arXiv 2306.01708, algorithm 1"
    needs: ClassVar[frozenset[str]] = frozenset({"base"})
    takes: ClassVar[frozenset[str]] = frozenset({"weights"})

    keep: float = Field(0.2, gt=0, le=1, description="share of the entries of each tensor that is kept")
    scale: float = Field(1.0, description="lambda, of the merged task vector")

    def merge(self, tensors: Tensors) -> Iterator[Tensor]:
        least = [self._threshold(tensors, model) for model in range(len(tensors.leaves))]
        for values in tensors.blocks():
            trimmed = [value * (value.abs() >= bound) for value, bound in zip(values, least)]
            yield elect(trimmed, tensors.weights).mul_(self.scale)

    def _threshold(self, tensors: Tensors, model: int) -> float:
        kept = max(1, int(self.keep * tensors.size))
        if kept >= tensors.size:
            return 0.0
        return kth_largest(lambda: (tensors.difference(model, *span).abs() for span in tensors.spans()), kept)


def elect(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Of each entry the weighted mean over the values whose sign is that of the weighted sum; 0 where none is."""
    sign = combine(values, weights).sign_()
    total, weight = torch.zeros_like(sign), torch.zeros_like(sign)
    for value, share in zip(values, weights):
        agrees = (value.sign() == sign) & (sign != 0)
        total.add_(value * agrees, alpha=share)
        weight.add_(agrees, alpha=share)
    return total.div_(weight.masked_fill_(weight == 0, 1))


def kth_largest(blocks: Callable[[], Iterable[Tensor]], k: int) -> float:
    """The k-th largest of numbers from 0 that come in blocks, k from 1, to the precision of float32.

    Numbers from 0 are in the order of their bits. The upper half of the bits is counted first, then the lower half of
    those with the upper half in question: two passes, and no memory for more than a block.
    """
    counts = sum(torch.bincount(_bits(block) >> 16, minlength=2**16) for block in blocks())
    upper, k = _bin_of(counts, k)
    chosen = (bits[bits >> 16 == upper] & 0xFFFF for bits in map(_bits, blocks()))
    lower, _ = _bin_of(sum(torch.bincount(bits, minlength=2**16) for bits in chosen), k)
    return float(torch.tensor(upper << 16 | lower, dtype=torch.int32).view(torch.float32))


def _bits(block: Tensor) -> Tensor:
    return block.float().view(torch.int32)


def _bin_of(counts: Tensor | int, k: int) -> tuple[int, int]:
    """The bin of the k-th largest, and its place in there, from 1."""
    assert isinstance(counts, Tensor)
    above = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(above, k))
    before = int(above[place - 1]) if place else 0
    return len(counts) - 1 - place, k - before
