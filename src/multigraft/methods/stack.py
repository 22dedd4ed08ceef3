"""Parameters of N experts stacked along axis 0, and the view of them that one batch needs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigraft.errors import UserError, unknown


@dataclass(frozen=True)
class Spec:
    """Shape of one expert's tensor and how it starts: `fill` plus normal noise of standard deviation `std`.

    Or what `draw` makes of a random generator. Of `ragged` tensors, which have P rows, an expert from elsewhere may
    have another number.
    """

    shape: tuple[int, ...]
    std: float = 0.0
    fill: float = 0.0
    draw: Callable[[torch.Generator], Tensor] | None = None
    ragged: bool = False

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def rows(self, length: int) -> Spec:
        """The same with P = length where it is ragged."""
        return replace(self, shape=(length, *self.shape[1:])) if self.ragged else self

    def start(self, generator: torch.Generator) -> Tensor:
        """A fresh tensor, float32."""
        if self.draw is not None:
            return self.draw(generator).float()
        return torch.randn(self.shape, generator=generator) * self.std + self.fill


def fresh_tensors(specs: Mapping[str, Spec], name: str, seed: int) -> dict[str, Tensor]:
    """How an expert starts. It depends on its specs, its name and the seed, not on its neighbours."""
    generator = generator_of(seed, name)
    return {key: spec.start(generator) for key, spec in specs.items()}


def generator_of(seed: int, *names: str) -> torch.Generator:
    """Random numbers that depend on the seed and the names alone."""
    digest = hashlib.blake2b("/".join([str(seed), *names]).encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


class Weights:
    """The named tensors of the experts that one batch uses.

    `weights[name]` has the tensor's own shape when all rows of the batch use one expert, and a leading
    axis of one entry per row otherwise; the functions in `multigraft.methods.functional` take both.
    """

    def __init__(self, tensors: dict[str, Tensor], local: Tensor | None) -> None:
        self._tensors, self._local = tensors, local
        self._ready: dict[str, Tensor] = {}
        self._distinct: Weights | None = None

    def __getitem__(self, name: str) -> Tensor:
        # Kept, because tensors that all layers share are asked for once per layer.
        if name not in self._ready:
            tensor = self._tensors[name]
            if tensor.dim() > 2 and torch.is_autocast_enabled(tensor.device.type):
                tensor = tensor.to(torch.get_autocast_dtype(tensor.device.type))
            self._ready[name] = tensor[0] if self._local is None else tensor.index_select(0, self._local)
        return self._ready[name]

    def derive(self, name: str, make: Callable[[Weights], Tensor]) -> Tensor:
        """What `make` makes of the tensors of each expert, as `weights[name]` gives a tensor.

        It is made once for each of the E experts of the batch and kept: `make` is given one entry per expert.
        """
        if name not in self._ready:
            distinct = self._each()
            made = make(self) if distinct is self else distinct.derive(name, make).index_select(0, self._local)  # type: ignore[arg-type]
            self._ready[name] = made
        return self._ready[name]

    def _each(self) -> Weights:
        """The same weights with one entry per expert; these themselves when there is one expert only."""
        if self._local is None:
            return self
        if self._distinct is None:
            count = len(next(iter(self._tensors.values())))
            self._distinct = Weights(self._tensors, torch.arange(count, device=self._local.device))
            self._distinct._distinct = self._distinct
        return self._distinct

    def for_rows(self, rows: int) -> Weights:
        """The weights for a batch of `rows` in which every row comes several times, its copies side by side."""
        if self._local is None or rows == len(self._local):
            return self
        assert rows % len(self._local) == 0, f"{rows} rows for {len(self._local)} experts"
        return Weights(self._tensors, self._local.repeat_interleave(rows // len(self._local)))


class Stack(nn.Module):
    """`values`: N F, one row of F numbers for each expert, which `specs` divides into named tensors.

    One matrix, so that the optimizer moves the rows that were drawn in a handful of operations, and an
    expert enters or leaves by a row. Ragged tensors are kept at the length of the longest expert, shorter ones at the
    end of their place behind zeros; `lengths[n]` is expert n's own P, 0 where nothing is ragged.
    """

    def __init__(self, specs: Mapping[str, Spec], names: Sequence[str], seed: int) -> None:
        super().__init__()
        self.specs = dict(specs)
        self._fresh = dict(specs)
        self.names = list(names)
        self.lengths = [self.longest] * len(self.names)
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

    @property
    def longest(self) -> int:
        """P for which there is room; 0 where nothing is ragged."""
        return next((spec.shape[0] for spec in self.specs.values() if spec.ragged), 0)

    def size(self, name: str) -> int:
        """Number of values of an expert, of its own length."""
        length = self.lengths[self.index(name)]
        return sum(spec.rows(length).size for spec in self.specs.values())

    def _initial(self, name: str) -> Tensor:
        return self._row(fresh_tensors(self._fresh, name, self.seed))

    def _row(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The tensors of an expert as its row: F."""
        flat = [(tensors[key].flatten(), size) for key, size in zip(self.specs, self._sizes, strict=True)]
        parts = [F.pad(tensor, (size - len(tensor), 0)) for tensor, size in flat]
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
        """Copies of an expert's named tensors, ragged ones at its own length."""
        index = self.index(name)
        free = self.longest - self.lengths[index]
        named = self._split(self.values.detach()[index])
        return {key: (value[free:] if self.specs[key].ragged else value).clone() for key, value in named}

    def load_expert(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite an expert. Raises UserError when names or shapes are not this stack's."""
        length = self._check(name, tensors)
        index = self.index(name)
        self._make_room(length)
        self.lengths[index] = length
        with torch.no_grad():
            self.values[index] = self._row(tensors).to(self.values)

    def add(self, name: str, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Append an expert: fresh, or with the given tensors. Raises UserError for a taken name or foreign tensors."""
        if name in self.names:
            raise UserError(f"an expert called {name!r} is in the bank already", fix="choose another name")
        if tensors is None:
            tensors = fresh_tensors(self._fresh, name, self.seed)
        length = self._check(name, tensors)
        self._make_room(length)
        values = torch.cat([self.values.detach(), self._row(tensors).to(self.values)[None]])
        self._resize([*self.names, name], [*self.lengths, length], values)

    def remove(self, name: str) -> None:
        """Take an expert out; the others keep their values and order."""
        index = self.index(name)
        keep = [i for i in range(len(self.names)) if i != index]
        names, lengths = [self.names[i] for i in keep], [self.lengths[i] for i in keep]
        self._resize(names, lengths, self.values.detach()[keep])

    def _make_room(self, length: int) -> None:
        """Let ragged tensors have `length` rows."""
        if length <= self.longest:
            return
        experts = [self.expert(name) for name in self.names]
        self.specs = {key: spec.rows(length) for key, spec in self.specs.items()}
        self._sizes = [spec.size for spec in self.specs.values()]
        rows = [self._row(tensors) for tensors in experts]
        self._resize(self.names, self.lengths, torch.stack(rows) if rows else self.values.new_empty(0, self.width))

    def _resize(self, names: list[str], lengths: list[int], values: Tensor) -> None:
        self.names, self.lengths = names, lengths
        self.values = nn.Parameter(values, requires_grad=self.values.requires_grad)

    def _check(self, name: str, tensors: Mapping[str, Tensor]) -> int:
        """P of the given tensors, 0 where nothing is ragged."""
        ragged = [key for key, spec in self.specs.items() if spec.ragged]
        given = tensors.get(ragged[0]) if ragged else None
        length = len(given) if given is not None and given.dim() and len(given) else self.longest
        wanted = {key: spec.rows(length).shape for key, spec in self.specs.items()}
        found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        if wanted != found:
            odd = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
            raise UserError(
                f"tensor {odd[0]!r} is {found.get(odd[0], 'missing')}, expected {wanted.get(odd[0], 'none')}",
                where=f"expert {name}",
                fix="load it into a bank of the same method, settings and backbone",
            )
        return length
