"""Fisher-weighted averaging: each entry counts as much as its model's answers depend on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from multigraft.errors import UserError
from multigraft.library.merging.base import Merge, Shape, Tensors


class Fisher(Merge):
    """`sum_i w_i F_i theta_i / sum_i w_i F_i`, entry by entry.

    F_i is the diagonal of model i's Fisher information: of each entry the mean, over examples and over answers drawn
    from the model, of the squared derivative of their log likelihood. Its tensors have the names and shapes of the
    model's; for LoRA experts, of the maps that are adapted, such as `0.q`.
    """

    name: ClassVar[str] = "fisher"
    paper: ClassVar[str] = "Matena and Raffel 2021, arXiv 2111.09832, equation 4"
    needs: ClassVar[frozenset[str]] = frozenset({"statistics"})
    takes: ClassVar[frozenset[str]] = frozenset({"weights"})
    idempotent: ClassVar[bool] = True

    floor: float = Field(1e-6, gt=0, description="what smaller entries of F count as; where all are, a mean results")

    def check_tensor(self, name: str, shape: Shape, statistics: Sequence[Shape | None]) -> None:
        """Every tensor needs its Fisher information, of the same shape."""
        for number, found in enumerate(statistics, 1):
            if found != shape:
                there = "missing" if found is None else f"of shape {found}"
                raise UserError(
                    f"the Fisher information of {name!r} is {there}", where=f"statistics {number}", fix=f"give {shape}"
                )

    def merge(self, tensors: Tensors) -> Iterator[Tensor]:
        assert tensors.statistics is not None
        for (start, stop), values in zip(tensors.spans(), tensors.blocks()):
            total, weight = torch.zeros_like(values[0]), torch.zeros_like(values[0])
            for value, statistics, share in zip(values, tensors.statistics, tensors.weights):
                fisher = statistics.block(start, stop).to(value.dtype).clamp(min=self.floor)
                total.addcmul_(value, fisher, value=share)
                weight.add_(fisher, alpha=share)
            yield total.div_(weight)
