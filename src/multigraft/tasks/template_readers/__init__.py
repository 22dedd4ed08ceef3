"""Readers of templates, one file per format.

A reader turns a file into entries: templates in our own form, each with the place that it stands at, so that they
can be checked. What cannot be turned into one goes to `report` as a `UserError` with file and line; when `report`
returns, the reader goes on with the next template.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from multigraft.registry import Registry
from multigraft.settings import read_text
from multigraft.tasks.readers import Report, stop
from multigraft.tasks.template import Template

DEFAULT = "multigraft"


@dataclass(frozen=True)
class Entry:
    """A template of a file."""

    template: Template
    where: str  # file:line
    answers: str | None = None  # pattern of the options, where a format makes them up row by row


class TemplateReader(ABC):
    """Reads one format of template files."""

    name: ClassVar[str]

    @abstractmethod
    def claims(self, text: str) -> bool:
        """Is a file with this text meant to be of this format?"""

    @abstractmethod
    def entries(self, path: Path, report: Report = stop) -> Iterator[Entry]:
        """The templates in `path`. Raises UserError when the file cannot be read."""


TEMPLATE_READERS: Registry[TemplateReader] = Registry(
    "format", "multigraft.tasks.template_readers", "multigraft.tasks.template_readers:TemplateReader"
)


def template_reader_for(path: Path) -> TemplateReader:
    """The reader that claims the file; our own, whose errors say what is expected, where none does."""
    text = read_text(path)
    readers = [reader() for reader in TEMPLATE_READERS.all().values()]
    return next((reader for reader in readers if reader.claims(text)), TEMPLATE_READERS.get(DEFAULT)())
