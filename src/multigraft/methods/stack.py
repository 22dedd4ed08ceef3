"""Parameters of N experts stacked along axis 0, and the view of them that one batch needs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from multigraft.errors import UserError, unknown


@dataclass(frozen=True)
class Spec:
    """Shape of one expert's tensor and how it starts: `fill` plus normal noise of standard deviation `std`."""

    shape: tuple[int, ...]
    std: float = 0.0
    fill: float = 0.0

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


def fresh_tensors(specs: Mapping[str, Spec], name: str, seed: int) -> dict[str, Tensor]:
    """How an expert starts. It depends on its specs, its name and the seed, not on its neighbours."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=7).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
    return {key: torch.randn(s.shape, generator=generator) * s.std + s.fill for key, s in specs.items()}


class Weights:
    """The named tensors of the experts that one batch uses.

    `weights[name]` has the tensor's own shape when all rows of the batch use one expert, and a leading
    axis of one entry per row otherwise; the functions in `multigraft.methods.functional` take both.
    """

    def __init__(self, tensors: dict[str, Tensor], local: Tensor | None) -> None:
        self._tensors, self._local = tensors, local
        self._ready: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        # Kept, because tensors that all layers share are asked for once per layer.
        if name not in self._ready:
            tensor = self._tensors[name]
            if tensor.dim() > 2 and torch.is_autocast_enabled(tensor.device.type):
                tensor = tensor.to(torch.get_autocast_dtype(tensor.device.type))
            self._ready[name] = tensor[0] if self._local is None else tensor.index_select(0, self._local)
        return self._ready[name]

    def for_rows(self, rows: int) -> Weights:
        """The weights for a batch of `rows` in which every row comes several times, its copies side by side."""
        if self._local is None or rows == len(self._local):
            return self
        assert rows % len(self._local) == 0, f"{rows} rows for {len(self._local)} experts"
        return Weights(self._tensors, self._local.repeat_interleave(rows // len(self._local)))


class Stack(nn.Module):
    """`values`: N F, one row of F numbers for each expert, which `specs` divides into named tensors.

    One matrix, so that the optimizer moves the rows that were drawn in a handful of operations, and an
    expert enters or leaves by a row.
    """

    def __init__(self, specs: Mapping[str, Spec], names: Sequence[str], seed: int) -> None:
        super().__init__()
        self.specs = dict(specs)
        self.names = list(names)
        self.seed = seed
        self._sizes = [spec.size for spec in self.specs.values()]
        rows = [self._initial(name) for name in self.names]
        values = torch.stack(rows) if rows else torch.empty(0, self.width)
        # Nothing to train where an expert has no values: DDP would wait for a gradient that never comes.
        self.values = nn.Parameter(values, requires_grad=self.width > 0)

    @property
    def width(self) -> int:
        """F, the number of values of one expert."""
        return sum(self._sizes)

    def _initial(self, name: str) -> Tensor:
        parts = [tensor.flatten() for tensor in fresh_tensors(self.specs, name, self.seed).values()]
        return torch.cat(parts) if parts else torch.empty(0)

    def select(self, experts: Sequence[int], local: Tensor | None) -> Weights:
        """The weights for a batch that uses the distinct `experts`.

        `local`: B, for every row its position in `experts`; None when there is one expert only.
        """
        if len(experts) == 1:
            active, local = self.values[experts[0] : experts[0] + 1], None
        elif list(experts) == list(range(len(self.names))):
            active = self.values
        else:
            active = self.values.index_select(0, torch.tensor(experts, device=self.values.device))
        return Weights(dict(self._split(active)), local)

    def _split(self, rows: Tensor) -> Iterator[tuple[str, Tensor]]:
        pieces = rows.split(self._sizes, dim=-1)
        for (name, spec), piece in zip(self.specs.items(), pieces, strict=True):
            yield name, piece.view((*rows.shape[:-1], *spec.shape))

    def decayed(self) -> Tensor:
        """F, true where weight decay applies: in matrices, not in biases, gains and scales."""
        flags = [torch.full((spec.size,), len(spec.shape) > 1) for spec in self.specs.values()]
        return torch.cat(flags) if flags else torch.zeros(0, dtype=torch.bool)

    def index(self, name: str) -> int:
        """Position of an expert. Raises UserError when it is not there."""
        if name not in self.names:
            raise unknown("expert", name, self.names)
        return self.names.index(name)

    def expert(self, name: str) -> dict[str, Tensor]:
        """Copies of an expert's named tensors."""
        return {key: value.clone() for key, value in self._split(self.values.detach()[self.index(name)])}

    def load_expert(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite an expert. Raises UserError when names or shapes are not this stack's."""
        self._check(name, tensors)
        with torch.no_grad():
            for key, target in self._split(self.values[self.index(name)]):
                target.copy_(tensors[key])

    def add(self, name: str, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Append an expert: fresh, or with the given tensors. Raises UserError for a taken name or foreign tensors."""
        if name in self.names:
            raise UserError(f"an expert called {name!r} is in the bank already", fix="choose another name")
        if tensors is not None:
            self._check(name, tensors)
        row = self._initial(name).to(self.values)
        self._resize([*self.names, name], torch.cat([self.values.detach(), row[None]]))
        if tensors is not None:
            self.load_expert(name, tensors)

    def remove(self, name: str) -> None:
        """Take an expert out; the others keep their values and order."""
        index = self.index(name)
        keep = [i for i in range(len(self.names)) if i != index]
        self._resize([self.names[i] for i in keep], self.values.detach()[keep])

    def _resize(self, names: list[str], values: Tensor) -> None:
        self.names = names
        self.values = nn.Parameter(values, requires_grad=self.values.requires_grad)

    def _check(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        wanted = {key: spec.shape for key, spec in self.specs.items()}
        found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        if wanted != found:
            odd = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
            raise UserError(
                f"tensor {odd[0]!r} is {found.get(odd[0], 'missing')}, expected {wanted.get(odd[0], 'none')}",
                where=f"expert {name}",
                fix="load it into a bank of the same method, settings and backbone",
            )
