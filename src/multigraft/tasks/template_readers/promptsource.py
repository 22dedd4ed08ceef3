"""Templates of promptsource: `templates.yaml` with a Jinja text that `|||` divides into input and target.

Bach et al. 2022, "PromptSource: An Integrated Development Environment and Repository for Natural Language Prompts",
arXiv 2202.01279. The files name fields as the hub does. A template that does not ask for the original task's answer
(`original_task: false`) becomes an inverted one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import yaml
from jinja2 import Environment, TemplateSyntaxError

from multigraft.errors import UserError
from multigraft.settings import Record, StrictLoader, build, parse_yaml, read_text
from multigraft.tasks.outputs import Name
from multigraft.tasks.readers import Report, stop
from multigraft.tasks.template import Template
from multigraft.tasks.template_readers import Entry, TemplateReader

DIVIDER = "|||"


class _Metadata(Record):
    original_task: bool | None = None
    choices_in_prompt: bool | None = None
    languages: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None


class _Prompt(Record):
    """One template as promptsource writes it."""

    name: Name
    jinja: str
    answer_choices: str | None = None
    id: str = ""
    reference: str | None = None
    metadata: _Metadata = _Metadata()


class _Loader(StrictLoader):
    """YAML in which `!Template` and `!TemplateMetadata` stand before plain mappings; nothing is constructed."""


for _tag in ("!Template", "!TemplateMetadata"):
    _Loader.add_constructor(_tag, _Loader.yaml_constructors[yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG])


class PromptSource(TemplateReader):
    """Reads what promptsource writes."""

    name: ClassVar[str] = "promptsource"

    def claims(self, text: str) -> bool:
        return re.search(r"^dataset:", text, re.MULTILINE) is not None

    def entries(self, path: Path, report: Report = stop) -> Iterator[Entry]:
        for line, data in _prompts(path):
            where = f"{path}:{line}"
            try:
                yield _entry(build(_Prompt, data, where), where)
            except UserError as error:
                report(error)


def _prompts(path: Path) -> list[tuple[int, Any]]:
    """Line and contents of each template in the file. Raises UserError."""
    text = read_text(path)
    data = parse_yaml(text, path, _Loader)
    if not isinstance(data, dict) or not isinstance(data.get("templates"), dict):
        raise UserError("not a file of promptsource", where=path, fix="it has 'dataset:' and named 'templates:'")
    root: Any = yaml.compose(text, Loader=_Loader)
    named = [value for key, value in root.value if key.value == "templates"]
    lines = {str(key.value): key.start_mark.line + 1 for node in named for key, _ in node.value}
    return [(lines.get(str(key), 1), prompt) for key, prompt in data["templates"].items()]


def _entry(prompt: _Prompt, where: str) -> Entry:
    source, target = _divided(prompt.jinja, f"{where}: template {prompt.name!r}")
    answers = prompt.answer_choices
    fixed = answers is not None and "{" not in answers
    choices = tuple(choice.strip() for choice in answers.split(DIVIDER)) if answers and fixed else None
    inverted = prompt.metadata.original_task is False
    template = Template(name=prompt.name, input=source, target=target, choices=choices, inverted=inverted)
    return Entry(template, where, None if fixed else answers)


def _divided(pattern: str, where: str) -> tuple[str, str]:
    """The patterns of input and target. Raises UserError when the text has more than two parts.

    A condition around both parts is written around each of them, and what the input sets is set for the target too.
    """
    parts = pattern.split(DIVIDER)
    if len(parts) > 2:
        raise UserError(f"has {len(parts)} parts", where=where, fix=f"divide input and target by one {DIVIDER}")
    if len(parts) == 1:
        return pattern.strip(), ""
    settings, conditions = _open_at_the_end(parts[0])
    source = parts[0].rstrip() + "{% endif %}" * len(conditions)
    return source.strip(), "".join([*settings, *conditions, parts[1].strip()])


def _open_at_the_end(text: str) -> tuple[list[str], list[str]]:
    """The `{% set %}` statements in `text`, and the conditions in it that are still open at its end."""
    settings: list[str] = []
    conditions: list[list[str]] = []
    statement: list[str] = []
    try:
        for _, kind, value in Environment().lex(text):
            statement = [value] if kind == "block_begin" else [*statement, value]
            if kind != "block_end":
                continue
            words = "".join(statement).strip("{%-+ \t\n}").split()
            if words[:1] == ["set"] and not conditions:
                settings.append("".join(statement))
            elif words[:1] == ["if"]:
                conditions.append(["".join(statement)])
            elif words[:1] in (["else"], ["elif"]) and conditions:
                conditions[-1].append("".join(statement))
            elif words[:1] == ["endif"] and conditions:
                conditions.pop()
    except TemplateSyntaxError:
        return [], []  # the parts have the same fault, which is found when they are compiled
    return settings, ["".join(condition) for condition in conditions]
