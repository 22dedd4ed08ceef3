"""RegMean: the linear map that answers as all models do, each on its own inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from multigraft.errors import UserError
from multigraft.library.merging.base import Merge, Shape, Tensors, combine


class RegMean(Merge):
    """`W = (sum_i w_i W_i G_i) (sum_i w_i G_i)^-1` for a map W, outputs x inputs, with G_i = X_i' X_i of its inputs.

    Statistics are the Gram matrices G_i, inputs x inputs, under the name of the map's tensor; for LoRA experts, of
    the map, such as `0.q`. Tensors without one are averaged by the weights. Entries off the diagonal are shrunk.
    """

    name: ClassVar[str] = "regmean"
    paper: ClassVar[str] = "Jin et al. 2022, arXiv 2212.09849, section 3.2, equation 2"
    needs: ClassVar[frozenset[str]] = frozenset({"statistics"})
    takes: ClassVar[frozenset[str]] = frozenset({"weights"})
    idempotent: ClassVar[bool] = True

    shrink: float = Field(0.9, ge=0, le=1, description="alpha, which entries off the diagonal of G are multiplied by")

    def check_tensor(self, name: str, shape: Shape, statistics: Sequence[Shape | None]) -> None:
        """A map has Gram matrices of all models, or of none."""
        if not any(statistics):
            return
        for number, found in enumerate(statistics, 1):
            if len(shape) != 2 or found != (shape[1], shape[1]):
                there = "missing" if found is None else f"of shape {found}"
                fix = f"give {(shape[1], shape[1])}" if len(shape) == 2 else "leave it out: this is no linear map"
                raise UserError(f"the Gram matrix of {name!r} is {there}", where=f"statistics {number}", fix=fix)

    def merge(self, tensors: Tensors) -> Iterator[Tensor]:
        total = sum(tensors.weights)
        shares = [weight / total for weight in tensors.weights]
        if tensors.statistics is None:
            yield from (combine(values, shares) for values in tensors.blocks())
            return
        values = [tensors.whole(model).double() for model in range(len(tensors.leaves))]
        grams = [self._gram(leaf.block(0, leaf.shape[0] ** 2).view(leaf.shape)) for leaf in tensors.statistics]
        mean = combine(values, shares)
        pull = combine([(value - mean) @ gram for value, gram in zip(values, grams)], shares)
        # Where inputs never vary, the sum of the matrices is singular: there the mean stays.
        inverse = torch.linalg.pinv(combine(grams, shares), hermitian=True)
        yield mean.addmm_(pull, inverse).to(tensors.precision).flatten()

    def _gram(self, gram: Tensor) -> Tensor:
        gram = gram.double()
        return self.shrink * gram + (1 - self.shrink) * gram.diagonal().diag()
