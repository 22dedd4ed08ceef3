"""Full models merged tensor by tensor: as tensors anywhere, and as files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from multigraft.errors import UserError
from multigraft.files import new_folder
from multigraft.library.merging.base import Leaf, Merge, Score, Tensors, merged
from multigraft.library.merging.files import INDEX, Kind, open_model, write_folder, write_model
from multigraft.library.merging.interference import Interference, interference
from multigraft.runinfo import keep_freed_memory

Model = Mapping[str, Leaf]


class Mixture(NamedTuple):
    """N models that fit together, checked before anything but names and shapes was read."""

    merge: Merge
    models: Sequence[Model]
    names: Sequence[str]  # of the models, for errors
    base: Model | None
    statistics: Sequence[Model] | None
    weights: tuple[float, ...]

    def kinds(self) -> dict[str, Kind]:
        """Type and shape of each merged tensor, in the order of the first model."""
        return {name: (self.tensors(name).dtype, leaf.shape) for name, leaf in self.models[0].items()}

    def tensors(self, name: str) -> Tensors:
        """What there is of one name."""
        leaves = tuple(model[name] for model in self.models)
        base = None if self.base is None else self.base[name]
        known = self.statistics is not None and name in self.statistics[0]
        statistics = tuple(each[name] for each in self.statistics) if known and self.statistics is not None else None
        return Tensors(name, leaves, self.weights, base, statistics)

    def pieces(self, name: str) -> Iterator[Tensor]:
        """The merged tensor, flat, in parts. Raises UserError for one of whole numbers that is not the same in all."""
        tensors = self.tensors(name)
        if mergeable(tensors.leaves[0]):
            yield from merged(self.merge, tensors)
            return
        for start, stop in tensors.spans():
            first, *others = (leaf.block(start, stop) for leaf in tensors.leaves)
            for number, other in enumerate(others, 1):
                if not torch.equal(first, other):
                    what = f"tensor {name!r}, of {first.dtype}, differs from that of {self.names[0]}"
                    raise UserError(what, where=self.names[number], fix="only numbers with a fraction are merged")
            yield first

    def interference(self) -> Interference | None:
        """How much the models' differences to the base interfere; None without a base."""
        if self.base is None:
            return None
        every = (self.tensors(name) for name, leaf in self.models[0].items() if mergeable(leaf))
        return interference(self.names, every)


class Merged(NamedTuple):
    """What there is to say of full models that were merged."""

    weights: tuple[float, ...]  # as the merge used them
    interference: Interference | None  # None without a base


def mergeable(leaf: Leaf) -> bool:
    """Does it hold numbers with a fraction? Others, such as positions, are the same in all models."""
    return leaf.dtype.is_floating_point


def mix(
    merge: Merge,
    models: Sequence[Model],
    names: Sequence[str],
    *,
    base: Model | None = None,
    differences: bool = False,
    weights: Sequence[float] | None = None,
    statistics: Sequence[Model] | None = None,
    score: Score | None = None,
) -> Mixture:
    """N models for a merge; `names` are for errors. Raises UserError when they do not fit together or with the merge.

    With `base`, differences to it are merged and added to it; with `differences`, the models are such already.
    `score` is called as often as the merge says.
    """
    count = None if statistics is None else len(statistics)
    has_base = differences or base is not None
    merge.check(len(models), weights=weights, base=has_base, statistics=count, score=score is not None)
    reference = models[0]
    for name, model in zip(names[1:], models[1:]):
        _check_same(reference, names[0], model, name)
    if base is not None:
        _check_same(reference, names[0], {name: base[name] for name in reference if name in base}, "the base")
    _check_statistics(merge, reference, statistics)
    chosen = merge.weigh(weights, len(models), score)
    return Mixture(merge, models, names, base, statistics, chosen)


def _check_same(first: Model, first_name: str, second: Model, second_name: str) -> None:
    """Raises UserError unless two models have tensors of the same names and shapes, numbers with a fraction or not."""
    kinds = [{name: (leaf.shape, mergeable(leaf)) for name, leaf in model.items()} for model in (first, second)]
    odd = sorted(name for name in first.keys() | second.keys() if kinds[0].get(name) != kinds[1].get(name))
    if odd:
        found = [_words(model.get(odd[0])) for model in (second, first)]
        what = f"tensor {odd[0]!r} is {found[0]}, in {first_name} {found[1]}"
        raise UserError(what, where=second_name, fix="merge models of one architecture, trained from one backbone")


def _words(leaf: Leaf | None) -> str:
    return (
        "missing"
        if leaf is None
        else f"{' x '.join(map(str, leaf.shape)) or 'one value'} {leaf.dtype}".replace("torch.", "")
    )


def _check_statistics(merge: Merge, reference: Model, statistics: Sequence[Model] | None) -> None:
    for number, each in enumerate(statistics or (), 1):
        unknown = sorted(each.keys() - reference.keys())
        if unknown:
            raise UserError(f"the models have no tensor {unknown[0]!r}", where=f"statistics {number}")
    if statistics is not None:
        for name, leaf in reference.items():
            if mergeable(leaf):
                shapes = [each[name].shape if name in each else None for each in statistics]
                merge.check_tensor(name, leaf.shape, shapes)


def merge_files(
    merge: Merge,
    paths: Sequence[Path],
    output: Path,
    *,
    base: Path | None = None,
    weights: Sequence[float] | None = None,
    statistics: Sequence[Path] | None = None,
    score: Score | None = None,
    shard: int | None = None,
) -> Merged:
    """Merge models in files or folders into one of the kind of the first, a tensor at a time.

    Of each model and of the result there is a block of a tensor in memory; where a merge needs whole matrices, as
    RegMean does, a tensor. To the folder of a model belong its other files: those of the first are copied. `shard`:
    as for `files.write_folder`. Raises UserError as `mix` and `open_model`, and for a file that is in the way.
    """
    keep_freed_memory()
    check_output(output)
    mixture = mix(
        merge,
        [open_model(path) for path in paths],
        [str(path) for path in paths],
        base=None if base is None else open_model(base),
        weights=weights,
        statistics=None if statistics is None else [open_model(path) for path in statistics],
        score=score,
    )
    if paths[0].is_dir():
        with new_folder(output) as folder:
            for path in sorted(paths[0].iterdir()):
                if path.is_file() and path.suffix != ".safetensors" and path.name != INDEX:
                    shutil.copyfile(path, folder / path.name)
            write_folder(folder, mixture.kinds(), mixture.pieces, shard)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_model(output, mixture.kinds(), mixture.pieces, {"format": "pt"})
    return Merged(mixture.weights, mixture.interference())


def check_output(output: Path) -> None:
    """Raises UserError when there is anything at the place of the output: nothing is replaced."""
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise UserError("the output is there already", where=output, fix="name another, or remove it")
