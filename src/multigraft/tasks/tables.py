"""Tables that nobody has described: which files of a folder belong to one task, and their rows."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import compress, islice
from pathlib import Path
from typing import Any

from multigraft.errors import UserError
from multigraft.settings import read_text
from multigraft.tasks.readers import READERS, Reader, reader_for
from multigraft.tasks.readers.csv import CommaSeparated

SPLITS = ("train", "validation", "test")
ALIASES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
DELIMITERS = ",;\t|"
MOST_COLUMNS = 1000
BAD_SHARE = 0.1  # of rows that cannot be read: with more of them the file is taken for broken
_LOOKED_AT = 1 << 16  # characters from which the delimiter is told
_LONGEST_NAME = 80  # characters; a longer cell is no name of a column
_PART = re.compile(r"(?i)(?:(.+?)[-_. ])?({0})|({0})[-_. ](.+)".format("|".join(ALIASES)))
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """The rows of a file with their lines, and a message for each line that could not be read."""

    path: Path
    lines: list[int]
    rows: list[Row]
    faults: tuple[str, ...] = ()


def number_in(value: Any) -> float | None:
    """The finite number that a value is, or that its text writes; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if abs(number) < float("inf") else None


def find_files(folder: Path) -> dict[str, dict[str, Path]]:
    """Data files of a folder and its sub-folders, by task and split; a file that names no split counts as `train`.

    `NAME.csv` and `NAME_test.csv` belong to the task NAME; `train.csv` and `test.csv` to the one that their folder is
    called after. Hidden files, and sub-folders with a `suite.yaml`, are left alone. Raises UserError for two files of
    one split.
    """
    found: dict[str, dict[str, Path]] = {}
    places = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    for place in (folder, *(path for path in places if not (path / "suite.yaml").exists())):
        for path in sorted(place.iterdir()):
            if not path.is_file() or path.name.startswith(".") or _suffix(path) not in READERS.names():
                continue
            whole = _SHARD.sub("", path.stem)
            part = _PART.fullmatch(whole)
            stem = (part[1] or part[4] or place.resolve().name) if part else whole
            name = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).strip("_.-") or f"task_{len(found) + 1}"
            split = ALIASES[(part[2] or part[3]).lower()] if part else "train"
            other = found.setdefault(name, {}).setdefault(split, path)
            if other != path:
                fix = "rename one of them, or take it out of the folder"
                raise UserError(f"is the {split} split of {name}, and {other.name} is too", where=path, fix=fix)
    return found


def _suffix(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()


def read_table(path: Path) -> Table:
    """The rows of a file. Raises UserError when it cannot be read, or more than a tenth of its rows cannot."""
    reader = _reader(path)
    faults: list[str] = []
    numbered = list(reader.rows(path, lambda fault: faults.append(str(fault))))
    lines, rows = [line for line, _ in numbered], [row for _, row in numbered]
    check_share(faults, len(rows))
    names = dict.fromkeys(name for row in rows for name in row)
    if len(names) > MOST_COLUMNS:
        raise UserError(f"{len(names):,} columns; at most {MOST_COLUMNS:,} are looked at", where=path)
    for name in names:
        if not name.isprintable():
            raise UserError(f"the name of column {name!r} is not plain text", where=path, fix="rename it")
    if not reader.typed:
        _check_names(names, rows, path)
        _read_lists(names, rows)
    return Table(path, lines, rows, tuple(faults))


def check_share(faults: list[str], good: int) -> None:
    """Raise the first of the `faults` as a UserError when they are too many beside so many `good` rows."""
    if len(faults) > max(1.0, BAD_SHARE * (good + len(faults))):
        raise UserError(f"{faults[0]} ({len(faults) - 1} more rows of {good + len(faults)} cannot be used)")


def read_tables(paths: Mapping[str, Path]) -> dict[str, Table]:
    """The table of each split; a single file is taken apart by a column such as `split`. Raises UserError."""
    tables = {split: read_table(paths[split]) for split in SPLITS if split in paths}
    return by_split_column(*tables.values()) if len(tables) == 1 else tables


def by_split_column(table: Table) -> dict[str, Table]:
    """The rows of each split when a column such as `split` names it in every row; else all of them as `train`."""
    for name in table.rows[0] if table.rows else ():
        if name.lower() in ("split", "subset", "partition", "fold", "set"):
            splits = [ALIASES.get(str(row.get(name)).strip().lower(), "") for row in table.rows]
            if all(splits) and "train" in splits:
                return {split: _part(table, [own == split for own in splits]) for split in SPLITS if split in splits}
    return {"train": table}


def _part(table: Table, wanted: list[bool]) -> Table:
    return replace(table, lines=list(compress(table.lines, wanted)), rows=list(compress(table.rows, wanted)))


def _reader(path: Path) -> Reader:
    reader = reader_for(path)
    if not isinstance(reader, CommaSeparated):
        return reader
    form = reader.format if _suffix(path) != "csv" else {"delimiter": _delimiter(path)}
    return type("Undescribed", (_Undescribed,), {"format": form})()


class _Undescribed(CommaSeparated):
    """A file whose first column need have no name, as where row numbers were saved with a table."""

    def names(self, header: list[str], path: Path) -> list[str]:
        return super().names(["index", *header[1:]] if len(header) > 1 and not header[0].strip() else header, path)


def _delimiter(path: Path) -> str:
    """The character that divides the first rows into cells, most of all and into equally many."""

    def cells(delimiter: str) -> tuple[bool, int]:
        records = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
        try:
            counts = [len(record) for record in islice(records, 20) if record]
        except csv.Error:
            return False, 0
        counts = counts[: -1 if len(head) == _LOOKED_AT else None] or [0]
        return len(set(counts)) == 1 and counts[0] > 1, counts[0]

    head = read_text(path)[:_LOOKED_AT].replace("\0", "")
    return max(DELIMITERS, key=cells)


def _check_names(names: Mapping[str, None], rows: list[Row], path: Path) -> None:
    """Raise a UserError when the first line looks like one of the rows."""
    if list(names) == [str(number) for number in range(len(names))]:
        return  # as tables without names are saved by pandas
    for name in names:
        again = Counter(row[name] == name for row in rows)[True]
        if _NUMBER.fullmatch(name.strip()) or len(name) > _LONGEST_NAME or again > 1:
            fix = "put a line with the names of the columns above it"
            raise UserError("the first line looks like a row, not like names of columns", where=f"{path}:1", fix=fix)


def _read_lists(names: Mapping[str, None], rows: list[Row]) -> None:
    """Turn the cells of columns that hold nothing but JSON lists into lists."""
    for name in names:
        if rows and all(row[name].lstrip().startswith("[") for row in rows if row[name].strip()):
            try:
                lists = list(_lists(row[name] for row in rows))
            except (ValueError, RecursionError):
                continue
            for row, value in zip(rows, lists, strict=True):
                row[name] = value


def _lists(cells: Iterator[str]) -> Iterator[Any]:
    for cell in cells:
        yield json.loads(cell) if cell.strip() else None
