"""The library: a folder of experts, each with its card, that several processes may read and change at once.

catalogue.sqlite                 names, cards, and which files belong to whom
objects/ab/abcdef….safetensors   tensors and key vectors, by the SHA-256 of their bytes; shared where they are equal

A write puts the files first, complete and synced, and then the row that names them, in one transaction. A process
killed in between leaves files that nobody refers to: `multigraft.library.verify` finds them when they are old enough
not to belong to a write in progress.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
import safetensors.torch
from torch import Tensor

from multigraft.errors import UserError, unknown
from multigraft.library.card import Card
from multigraft.library.catalogue import FILE, Catalogue, Row
from multigraft.library.objects import Objects, parse_tensors
from multigraft.settings import Record, build

HEAD = "head."  # in front of the names of the tensors of an encoder's head
EARLY = "early."  # in front of those of a module as it was early in its training: a task's embedding
_NAME = re.compile(r"[^\W_][^\x00-\x1f\x7f/\\:*?\"<>|]{0,199}(?<![ .])")
_KEYS = "keys"  # name of the S x D tensor in a file of key vectors


@dataclass(frozen=True)
class Expert:
    """An expert of a library: what it is, and where its tensors are."""

    name: str
    card: Card
    weights: str  # SHA-256 of the file of its tensors
    keys: str | None  # and of its key vectors, if it has any
    objects: Objects

    @property
    def size(self) -> int:
        """Bytes of its tensors. Raises UserError when they are missing."""
        return self.objects.size(self.weights)

    def tensors(self) -> dict[str, Tensor]:
        """Its named tensors, those of a head as `head.…`. Raises UserError when they are missing or damaged."""
        return parse_tensors(self.objects.read(self.weights), self.objects.path(self.weights))

    def key_vectors(self) -> np.ndarray | None:
        """Its keys S x D, by which it is retrieved; None without. Raises UserError as `tensors`."""
        if self.keys is None:
            return None
        tensors = parse_tensors(self.objects.read(self.keys), self.objects.path(self.keys))
        if _KEYS not in tensors:
            raise UserError("holds no key vectors", where=self.objects.path(self.keys))
        return tensors[_KEYS].numpy()


class Stats(Record):
    """What a library holds: numbers of experts by what they are, and of files; sizes in bytes."""

    experts: int
    tasks: int
    methods: dict[str, int]
    backbones: dict[str, int]
    with_keys: int
    files: int
    bytes: int


class Library:
    """A library in a folder. It keeps no file open; two of the same folder, in any processes, see the same."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError when the folder is no library."""
        self.folder = folder
        self.catalogue = Catalogue(folder / FILE)
        self.objects = Objects(folder / "objects")
        if not self.catalogue.path.is_file():
            fix = "give a folder that holds one, or add experts to a new folder"
            raise UserError("not a library of experts", where=folder, fix=fix)

    @classmethod
    def create(cls, folder: Path, *, exist_ok: bool = False) -> Library:
        """A new library. Raises UserError when the folder holds anything, other than a library if `exist_ok`."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            strange = [path for path in folder.iterdir() if not path.name.startswith(".") and path.name != "objects"]
        except OSError as error:
            raise UserError(f"cannot be made: {error.strerror}", where=folder, fix="give a new folder") from None
        if strange and not (folder / FILE).exists():
            raise UserError("the folder is not empty", where=folder, fix="give a new folder, or a library")
        (folder / "objects").mkdir(exist_ok=True)
        if not Catalogue(folder / FILE).create() and not exist_ok:
            raise UserError("there is a library already", where=folder)
        return cls(folder)

    def add(
        self,
        name: str,
        tensors: Mapping[str, Tensor],
        card: Card,
        keys: np.ndarray | None = None,
        *,
        replace: bool = False,
    ) -> Expert:
        """Add an expert, or with `replace` put it in the place of that of its name.

        keys: S x D, float32 or float16. Raises UserError for a name that is taken or no name, for no tensors, for a
        card without a method or with figures that are not finite, and for other keys.
        """
        check_name(name)
        if not tensors:
            raise UserError("has no tensors of its own: there is nothing to keep", where=f"expert {name}")
        files = [safetensors.torch.save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})]
        if keys is not None:
            files.append(_keys_file(name, keys))
        wanted = [self.objects.write(data) for data in files]
        row = Row(name, card.model_dump_json(), wanted[0], wanted[1] if keys is not None else None)
        try:
            expert = self._expert(row)
            with self.catalogue.writing() as table:
                before = table.rows(name)
                if before and not replace:
                    raise taken(name, self.folder)
                for key, data in zip(wanted, files, strict=True):
                    if not self.objects.has(key):  # somebody removed what nobody referred to
                        self.objects.write(data)
                table.put(row)
        except UserError:
            self._drop([(row, True)])
            raise
        self._drop(before)
        return expert

    def get(self, name: str) -> Expert:
        """An expert. Raises UserError with the nearest name when it is not there, and when its row is damaged."""
        with self.catalogue.reading() as table:
            found = table.rows(name)
            if not found:
                raise unknown("expert", name, table.names(), self.folder)
        return self._sound(*found[0])

    def remove(self, name: str) -> None:
        """Take an expert out; files that others share stay. Raises UserError when it is not there."""
        with self.catalogue.writing() as table:
            before = table.rows(name)
            if not before:
                raise unknown("expert", name, table.names(), self.folder)
            table.delete(name)
        self._drop(before)

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        with self.catalogue.reading() as table:
            return tuple(table.names())

    def stats(self) -> Stats:
        """What is in it."""
        experts = self.list()
        sizes = [self.objects.size(key) for key in self.objects.stored()]
        return Stats(
            experts=len(experts),
            tasks=len({expert.card.task for expert in experts}),
            methods=dict(sorted(Counter(expert.card.method["name"] for expert in experts).items())),
            backbones=dict(sorted(Counter(expert.card.backbone for expert in experts).items())),
            with_keys=sum(expert.keys is not None for expert in experts),
            files=len(sizes),
            bytes=sum(sizes),
        )

    def list(
        self, *, task: str | None = None, method: str | None = None, backbone: str | None = None
    ) -> tuple[Expert, ...]:
        """The experts of a task, a method and a backbone's name or fingerprint, each if given, by name."""
        with self.catalogue.reading() as table:
            rows = table.rows()
        experts = (self._sound(*row) for row in rows)
        return tuple(
            expert
            for expert in experts
            if task in (None, expert.card.task)
            and method in (None, expert.card.method["name"])
            and backbone in (None, expert.card.backbone, expert.card.backbone_fingerprint)
        )

    def _drop(self, rows: Iterable[tuple[Row, bool]]) -> None:
        """Delete the files of rows that are gone, unless others refer to them."""
        keys = {key for row, sound in rows if sound for key in (row.weights, row.keys) if key is not None}
        if not keys:
            return
        with self.catalogue.writing() as table:  # so that nobody comes to refer to them meanwhile
            for key in keys:
                if not table.refers(key):
                    self.objects.remove(key)

    def _sound(self, row: Row, sound: bool) -> Expert:
        if not sound:
            fix = "run multigraft library verify, and add the expert again with --replace"
            raise UserError(f"the row of the expert {row.name!r} is damaged", where=self.catalogue.path, fix=fix)
        return self._expert(row)

    def _expert(self, row: Row) -> Expert:
        where = f"card of {row.name}"
        try:
            card = build(Card, json.loads(row.card), where)
        except ValueError:
            raise UserError("not JSON", where=where) from None
        if not isinstance(card.method.get("name"), str):
            raise UserError("'method.name' is missing", where=where, fix="add it")
        return Expert(row.name, card, row.weights, row.keys, self.objects)


def check_name(name: str) -> None:
    """Raises UserError for what is no name of an expert, such as a path."""
    if not _NAME.fullmatch(name) or not name.isprintable():
        fix = 'begin with a letter or digit, and leave out / \\ : * ? " < > | and a dot or space at the end'
        raise UserError(f"not a name of an expert: {name!r}", fix=fix)


def taken(name: str, where: object) -> UserError:
    """The error for the name of an expert that is there already."""
    return UserError(f"an expert called {name!r} is here already", where=where, fix="add --replace, or name it anew")


def check_free(folder: Path, names: Iterable[str]) -> None:
    """Raises UserError when the library in a folder, if there is one, has an expert of such a name."""
    there = set(Library(folder).names()) if folder.exists() else set()
    for name in names:
        if name in there:
            raise taken(name, folder)


def _keys_file(name: str, keys: np.ndarray) -> bytes:
    keys = np.ascontiguousarray(keys)
    if keys.ndim != 2 or 0 in keys.shape or keys.dtype not in (np.float32, np.float16) or not np.isfinite(keys).all():
        shape = " x ".join(map(str, keys.shape))
        raise UserError(
            f"keys are {shape} {keys.dtype}, expected S x D finite numbers of type float32 or float16",
            where=f"expert {name}",
        )
    return safetensors.numpy.save({_KEYS: keys})
