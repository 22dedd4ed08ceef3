"""Comma and tab separated values, UTF-8, with a header line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from multigraft.errors import UserError
from multigraft.settings import read_text
from multigraft.tasks.readers import Reader, Report, stop


class CommaSeparated(Reader):
    """Comma separated values; a cell may stand in double quotes (RFC 4180)."""

    name: ClassVar[str] = "csv"
    typed: ClassVar[bool] = False
    format: ClassVar[dict[str, Any]] = {"delimiter": ","}

    def rows(self, path: Path, report: Report = stop) -> Iterator[tuple[int, dict[str, Any]]]:
        text = read_text(path)
        if "\0" in text:
            raise UserError("holds a NUL byte", where=f"{path}:{text[: text.index(chr(0))].count(chr(10)) + 1}")
        records = csv.reader(io.StringIO(text, newline=""), strict=True, **self.format)
        line = 1
        try:
            names = self.names(next(records, []), path)
            line = records.line_num + 1
            for cells in records:
                if len(cells) == len(names):
                    yield line, dict(zip(names, cells, strict=True))
                else:
                    fault = (
                        f"{len(cells)} cells under {len(names)} column names" if cells else "empty row; remove the line"
                    )
                    report(UserError(fault, where=f"{path}:{line}"))
                line = records.line_num + 1
        except csv.Error as error:
            raise UserError(f"not valid {self.name.upper()}: {error}", where=f"{path}:{line}") from None

    def names(self, header: list[str], path: Path) -> list[str]:
        """The names of the columns, from the first line. Raises UserError."""
        if not header or not all(name.strip() for name in header):
            raise UserError("the first line must name every column", where=f"{path}:1")
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise UserError(f"column {twice!r} is given twice", where=f"{path}:1")
        return header


class TabSeparated(CommaSeparated):
    """Tab separated values; quotes are ordinary characters, a cell holds neither tab nor line end."""

    name: ClassVar[str] = "tsv"
    format: ClassVar[dict[str, Any]] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
