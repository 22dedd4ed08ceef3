"""JSON lines: one object per line, UTF-8."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from multigraft.errors import UserError
from multigraft.tasks.readers import Reader, Report, stop


class JsonLines(Reader):
    """JSON lines. Stricter than `json.loads`: no NaN, no key twice."""

    name: ClassVar[str] = "jsonl"

    def rows(self, path: Path, report: Report = stop) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    try:
                        row = _parse(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
                    except ValueError as error:
                        report(UserError(str(error), where=f"{path}:{number}"))
                    else:
                        yield number, row
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", where=path) from None


def _parse(line: bytes) -> dict[str, Any]:
    """One JSON object from UTF-8 bytes. Raises ValueError with the reason."""
    if not line.strip():
        raise ValueError("empty row; remove the line")
    try:
        value = DECODER.decode(line.decode())
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("not valid JSON here: nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected one JSON object per line, got {type(value).__name__}")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} is given twice")
    return row


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"not valid JSON: {constant} is not a number")


DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse)
