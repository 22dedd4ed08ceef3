"""Readers of rows, one file per format.

A reader yields `(line, row)` pairs: the line counted from 1, and the row by field names. Faults go to
`report` as a `UserError` with file and line. When `report` raises, reading stops at the first fault;
when it returns, a reader goes on with the next row where the format allows it. What cannot be read is
never left out in silence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from multigraft.errors import UserError
from multigraft.registry import Registry

Report = Callable[[UserError], None]


def stop(error: UserError) -> None:
    """The report of a strict read: the first fault is raised."""
    raise error


class Reader(ABC):
    """Reads one file format; `name` is the file's suffix without the dot."""

    name: ClassVar[str]
    typed: ClassVar[bool] = True  # False where every value is text: numbers and lists have still to be read

    @abstractmethod
    def rows(self, path: Path, report: Report = stop) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows of `path` with their line numbers. Raises UserError when the file cannot be read."""


READERS: Registry[Reader] = Registry("format", "multigraft.tasks.readers", "multigraft.tasks.readers:Reader")


def reader_for(path: Path) -> Reader:
    """The reader for the suffix of `path`. Raises UserError for an unknown one."""
    return READERS.get(path.suffix.removeprefix(".").lower(), where=path)()
