"""Our own `templates.yaml`: a list of templates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from multigraft.errors import UserError
from multigraft.tasks.readers import Report, stop
from multigraft.tasks.template import read_templates
from multigraft.tasks.template_readers import Entry, TemplateReader


class Ours(TemplateReader):
    """`templates:` and a list of records; the first one that is not a template makes the file unreadable."""

    name: ClassVar[str] = "multigraft"

    def claims(self, text: str) -> bool:
        return re.search(r"^templates:\s*$\s*-", text, re.MULTILINE) is not None

    def entries(self, path: Path, report: Report = stop) -> Iterator[Entry]:
        try:
            templates = read_templates(path)
        except UserError as error:
            report(error)
            return
        yield from (Entry(template, f"{path}:{line}") for line, template in templates)
