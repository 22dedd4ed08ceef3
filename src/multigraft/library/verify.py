"""Is a library whole? Every damaged, missing or foreign file, and the experts that it affects.

A file that no expert refers to is the left-over of a write that was cut off, or part of one that is still going on:
it counts as foreign once nobody has touched it for `SETTLED` seconds. Taking an expert out leaves none behind, so
`clean` has to do with such left-overs alone.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from multigraft.errors import UserError
from multigraft.library.catalogue import COMPANIONS, FILE, Row
from multigraft.library.objects import parse_tensors
from multigraft.library.store import Library
from multigraft.settings import Record

SETTLED = 3600.0
_UNFINISHED = re.compile(rf"\.({re.escape(FILE)}|[0-9a-f]{{64}}\.safetensors)\..*\.tmp.*")


class Fault(Record):
    """One file that is not as it should be."""

    path: str  # within the library
    kind: Literal["damaged", "missing", "foreign"]
    what: str
    experts: tuple[str, ...]  # that cannot be trusted for it


def verify(library: Library) -> tuple[Fault, ...]:
    """All that is wrong with a library: its catalogue, the files that experts refer to, and files that are not its own.

    Reads every file once. Experts may be added and removed meanwhile.
    """
    found: list[Fault] = []
    rows: list[tuple[Row, bool]] = []
    whole = library.catalogue.fault()
    try:
        with library.catalogue.reading() as table:
            rows = table.rows()
    except UserError as error:
        found.append(Fault(path=FILE, kind="damaged", what=error.what, experts=()))
        users = None
    else:
        bad = tuple(str(row.name) for row, sound in rows if not sound)
        if bad or whole:
            affected = bad or tuple(row.name for row, _ in rows)
            what = whole or "damaged: a row does not say what was written"
            found.append(Fault(path=FILE, kind="damaged", what=what, experts=affected))
        users = _users(row for row, sound in rows if sound)
        found += [fault for key, names in users.items() if (fault := _object_fault(library, key, tuple(names)))]
    return (*found, *_foreign(library, users))


def clean(library: Library) -> tuple[str, ...]:
    """Delete what writes that were cut off have left behind; gives the paths.

    Raises UserError for a damaged catalogue, which may have lost whom a file belongs to.
    """
    fault, removed = library.catalogue.fault(), []
    with library.catalogue.writing() as table:  # so that nobody comes to refer to one meanwhile
        rows = table.rows()
        if fault or not all(sound for _, sound in rows):
            raise UserError(fault or "damaged", where=library.catalogue.path, fix="nothing was deleted")
        users = _users(row for row, _ in rows)
        for path in _files(library):
            key = library.objects.key(path)
            left = key not in users if key is not None else _UNFINISHED.fullmatch(path.name)
            if left and _settled(path):
                path.unlink(missing_ok=True)
                removed.append(str(path.relative_to(library.folder)))
    return tuple(removed)


def _users(rows: Iterator[Row]) -> dict[str, list[str]]:
    """The experts that refer to each file, by its key."""
    users: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for key in (row.weights, row.keys):
            if key is not None:
                users[key].append(row.name)
    return dict(users)


def _object_fault(library: Library, key: str, names: tuple[str, ...]) -> Fault | None:
    relative = FILE
    try:
        path = library.objects.path(key)
        relative = str(path.relative_to(library.folder))
        if not path.exists() and not path.is_symlink():
            return _missing(library, key, relative, names)
        parse_tensors(library.objects.read(key), path)
    except UserError as error:
        return Fault(path=relative, kind="damaged", what=error.what, experts=names)
    return None


def _missing(library: Library, key: str, relative: str, names: tuple[str, ...]) -> Fault | None:
    with library.catalogue.reading() as table:
        if not table.refers(key):  # removed since the rows were read
            return None
    return Fault(path=relative, kind="missing", what="the file is missing", experts=names)


def _foreign(library: Library, users: Mapping[str, list[str]] | None) -> Iterator[Fault]:
    """Files that do not belong here, and unreferenced ones that are damaged; `users` None: nobody knows who refers."""
    own = {library.folder / name for name in (FILE, *COMPANIONS)}
    for path in _files(library):
        key = library.objects.key(path)
        if path in own or (key is not None and users is not None and key in users):
            continue
        relative = str(path.relative_to(library.folder))
        if key is not None and (fault := _object_fault(library, key, ())):
            yield fault
        elif key is not None or _UNFINISHED.fullmatch(path.name):
            if users is not None and _settled(path):
                yield Fault(path=relative, kind="foreign", what="left behind by a write that was cut off", experts=())
        else:
            yield Fault(path=relative, kind="foreign", what="not a file of the library", experts=())


def _files(library: Library) -> list[Path]:
    """Everything in the folder but folders; a link is never followed."""
    return sorted(path for path in library.folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _settled(path: Path) -> bool:
    try:
        return time.time() - path.lstat().st_mtime > SETTLED
    except FileNotFoundError:
        return False
