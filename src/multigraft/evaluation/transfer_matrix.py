"""Transfer matrices: the score of every target task when it starts from every source, read from CSV files.

The first line names the columns: `source`, then one for each target, and `seed` where runs were repeated. A row is a
source, once for each seed; the row of the source `none` is training without transfer. Scores are in per cent.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from multigraft.errors import UserError, nearest
from multigraft.files import write_text
from multigraft.tasks.readers.csv import CommaSeparated

NONE = "none"  # the source that is no transfer
_LARGEST = 1e100  # far from where sums and squares overflow


@dataclass(frozen=True)
class TransferMatrix:
    """Scores in per cent of M targets from N sources, with S seeds."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    scores: np.ndarray  # (S, N, M)
    none: np.ndarray  # (S, M): without transfer

    def __post_init__(self) -> None:
        wanted = (len(self.none), len(self.sources), len(self.targets))
        if self.scores.shape != wanted or self.none.shape != (wanted[0], wanted[2]) or 0 in wanted:
            raise ValueError(f"scores {self.scores.shape} and {self.none.shape} without transfer, expected {wanted}")


class _Row(NamedTuple):
    line: int
    values: list[float]


class _Table(NamedTuple):
    columns: list[str]
    rows: dict[str, dict[str, _Row]]  # by source and seed; without a column `seed` the seed is ""

    def array(self, sources: Sequence[str], columns: Sequence[str], path: Path) -> np.ndarray:
        """Values (S, sources, columns). Raises UserError for a source or column that is not there."""
        for name in columns:
            if name not in self.columns:
                raise UserError(f"has no column {name!r}", where=f"{path}:1", fix=nearest(name, self.columns))
        for source in sources:
            if source not in self.rows:
                raise UserError(f"has no row {source!r}", where=path, fix=nearest(source, self.rows))
        chosen = [self.columns.index(name) for name in columns]
        seeds = list(next(iter(self.rows.values())))
        return np.array([[self.rows[source][seed].values for source in sources] for seed in seeds])[..., chosen]


def read_matrix(path: Path) -> TransferMatrix:
    """The transfer matrix in a CSV file.

    Raises UserError, with file and line, for a cell that is empty, no number or not in per cent, a source given twice,
    a seed that a source lacks, and a file without a row `none` or without sources.
    """
    table = _read(path)
    for source, rows in table.rows.items():
        for row in rows.values():
            for target, value in zip(table.columns, row.values):
                if abs(value) > 100:
                    where = f"{path}:{row.line}"
                    raise UserError(
                        f"{target!r} of {source!r} is {value:g}", where=where, fix="give scores in per cent"
                    )
    if NONE not in table.rows:
        fix = "add the scores without transfer as the row 'none'"
        raise UserError(f"has no row {NONE!r}", where=path, fix=fix)
    sources = [source for source in table.rows if source != NONE]
    if not sources:
        raise UserError(f"has no source but {NONE!r}", where=path, fix="add a row for each source")
    scores = table.array(sources, table.columns, path)
    return TransferMatrix(tuple(sources), tuple(table.columns), scores, table.array([NONE], table.columns, path)[:, 0])


def write_matrix(path: Path, matrix: TransferMatrix, seeds: Sequence[int]) -> None:
    """Write what `read_matrix` reads, whole or not at all."""
    names = (NONE, *matrix.sources)
    lines = [["source", "seed", *matrix.targets]]
    for seed, none, scores in zip(seeds, matrix.none, matrix.scores):
        lines += [[name, str(seed), *map(_figure, row)] for name, row in zip(names, [none, *scores])]
    _write(path, lines)


def write_predicted(path: Path, matrix: TransferMatrix, predicted: np.ndarray, seeds: Sequence[int]) -> None:
    """Write predictions (S, N, M) for the sources and targets of a matrix, as `read_predicted` reads them."""
    lines = [["source", "seed", *matrix.targets]]
    for seed, scores in zip(seeds, predicted):
        lines += [[name, str(seed), *map(_figure, row)] for name, row in zip(matrix.sources, scores)]
    _write(path, lines)


def _figure(value: float) -> str:
    return f"{value:.6g}"


def _write(path: Path, lines: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    write_text(path, text.getvalue())


def read_predicted(path: Path, matrix: TransferMatrix) -> np.ndarray:
    """Predicted scores of the sources and targets of `matrix`, (N, M), from a CSV file like its own.

    They may have any unit: the higher, the better the source. Seeds are averaged; a row `none` is not needed and not
    read. Raises UserError for anything unreadable, and for sources or targets that are not those of the matrix.
    """
    table = _read(path)
    for kind, found, known in (
        ("target", table.columns, matrix.targets),
        ("source", table.rows, (*matrix.sources, NONE)),
    ):
        for name in found:
            if name not in known:
                line = next(iter(table.rows[name].values())).line if kind == "source" else 1
                fix = nearest(name, known)
                raise UserError(f"{kind} {name!r} is not in the matrix", where=f"{path}:{line}", fix=fix)
    return np.asarray(table.array(matrix.sources, matrix.targets, path).mean(axis=0))


def read_sizes(path: Path, matrix: TransferMatrix) -> np.ndarray:
    """Training examples of the sources, (N,), from the columns `source` and `size` of a CSV file.

    Tasks that are no source may be listed too. Raises UserError for anything unreadable and for a missing source.
    """
    return np.asarray(_read(path).array(matrix.sources, ["size"], path)[0, :, 0])


def _read(path: Path) -> _Table:
    columns: list[str] = []
    table = _Table(columns, {})
    for line, cells in CommaSeparated().rows(path):
        where = f"{path}:{line}"
        if not columns:
            columns += _columns([name.strip() for name in cells], path)
        row = {name.strip(): text.strip() for name, text in cells.items()}
        source, seed = row["source"], row.get("seed", "")
        by_seed = table.rows.setdefault(source, {})
        if not source or ("seed" in row and not seed):
            raise UserError(f"the {'seed' if source else 'source'} is not named", where=where)
        if seed in by_seed:
            again = f" for seed {seed!r}" if seed else ""
            fix = f"line {by_seed[seed].line} has it too; number repeated runs in a column 'seed'"
            raise UserError(f"source {source!r} is given twice{again}", where=where, fix=fix)
        by_seed[seed] = _Row(line, [_number(row[name], f"{name!r} of {source!r}", where) for name in columns])
    if not columns:
        raise UserError("has no rows", where=path, fix="give one for each source, and one called 'none'")
    _check_seeds(table, path)
    return table


def _columns(names: list[str], path: Path) -> list[str]:
    """The columns with numbers."""
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"column {twice[0]!r} is given twice", where=f"{path}:1")
    if "source" not in names:
        raise UserError("has no column 'source'", where=f"{path}:1", fix="name the columns source, then the targets")
    numbers = [name for name in names if name not in ("source", "seed")]
    if not numbers:
        raise UserError("has no target", where=f"{path}:1", fix="name the columns source, then the targets")
    return numbers


def _number(text: str, what: str, where: str) -> float:
    if not text:
        raise UserError(f"{what} is missing", where=where, fix="give a number")
    try:
        value = float(text.replace("_", "?"))  # Python, but no one else, reads 1_0 as a number
    except ValueError:
        raise UserError(f"{what} is {text!r}", where=where, fix="give a number") from None
    if not abs(value) < _LARGEST:
        raise UserError(f"{what} is {text}", where=where, fix="give a number, or leave the source out")
    return value


def _check_seeds(table: _Table, path: Path) -> None:
    seeds = {seed: None for rows in table.rows.values() for seed in rows}
    for source, rows in table.rows.items():
        missing = [seed for seed in seeds if seed not in rows]
        if missing:
            where = f"{path}:{next(iter(rows.values())).line}"
            raise UserError(f"source {source!r} has no row for seed {missing[0]!r}", where=where, fix="add it")
