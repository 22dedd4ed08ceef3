"""DARE: drop entries at random, and rescale the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from multigraft.library.merging.base import Merge, Tensors, combine
from multigraft.library.merging.ties import elect


class Dare(Merge):
    """Each entry of a task vector is dropped with probability p, and otherwise divided by 1 - p; then they are merged.

    What is dropped depends on the seed, on the tensor's name and on the place of the model in the order given.
    """

    name: ClassVar[str] = "dare"
    paper: ClassVar[str] = "Yu et al. 2023, arXiv 2311.03099, section 3.2"
    needs: ClassVar[frozenset[str]] = frozenset({"base"})
    takes: ClassVar[frozenset[str]] = frozenset({"weights"})
    symmetric: ClassVar[bool] = False

    drop: float = Field(0.5, ge=0, lt=1, description="p, the probability that an entry is dropped")
    then: Literal["linear", "ties"] = Field(
        "linear", description="linear: the weighted sum; ties: the weighted mean over those of the elected sign"
    )
    scale: float = Field(1.0, description="lambda, of the merged task vector")
    seed: int = Field(0, ge=0, description="of what is dropped")

    def merge(self, tensors: Tensors) -> Iterator[Tensor]:
        generators = [self._generator(tensors.name, model) for model in range(len(tensors.leaves))]
        for values in tensors.blocks():
            thinned = [self._thin(value, generator) for value, generator in zip(values, generators)]
            together = combine if self.then == "linear" else elect
            yield together(thinned, tensors.weights).mul_(self.scale)

    def _generator(self, name: str, model: int) -> torch.Generator:
        digest = hashlib.blake2b(f"{self.seed}/{model}/{name}".encode(), digest_size=7).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "big"))

    def _thin(self, value: Tensor, generator: torch.Generator) -> Tensor:
        kept = torch.rand(value.shape, generator=generator) >= self.drop
        return value * kept / (1 - self.drop)
