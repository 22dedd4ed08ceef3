"""The linter of templates: what makes one useless or doubtful, by itself, with its task, and on real rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from multigraft.errors import UserError
from multigraft.settings import Record
from multigraft.tasks.jinja import Pattern, PatternError, compile_pattern
from multigraft.tasks.outputs import Example
from multigraft.tasks.task import Task
from multigraft.tasks.template import Rendered, Template, answers_of, faults, render
from multigraft.tasks.template_readers import Entry

MOST_INVERTED = 3  # of a task's templates, as in FLAN
# Characters that a constant text holds by mistake only, nearly always.
BROKEN = {
    "a line break or tab written as a backslash and a letter": r"\\[nrt](?![a-z])",
    "an HTML entity": r"&(?:amp|lt|gt|quot|apos|nbsp|#\d+|#x[0-9A-Fa-f]+);",
    "text in a wrong encoding": "[ÃÂ][\x80-\xbf]|â€|ï¿½|\ufffd",
    "a brace that belongs to no pattern": r"[{}]+",
}


class Finding(Record):
    """One thing that the linter says about a template. An error makes it useless, a warning doubtful.

    Rules: syntax, unsafe, random, unknown, missing field, empty, leak, options, inverted, fails, escape, border,
    unused, duplicate.
    """

    severity: Literal["error", "warning"]
    rule: str
    message: str


def _error(rule: str, message: str) -> Finding:
    return Finding(severity="error", rule=rule, message=message)


def _warning(rule: str, message: str) -> Finding:
    return Finding(severity="warning", rule=rule, message=message)


def lint(template: Template, task: Task | None, examples: Sequence[Example] = ()) -> list[Finding]:
    """What is wrong with a template: by itself, with its task if there is one, and on these examples of it."""
    return _lint(Entry(template, ""), task, examples)


def lint_all(entries: Sequence[Entry], task: Task | None, examples: Sequence[Example] = ()) -> list[list[Finding]]:
    """The findings for each template of a task, or of a file, those about several of them included."""
    found = [_lint(entry, task, examples) for entry in entries]
    first: dict[object, str] = {}
    for entry, findings in zip(entries, found, strict=True):
        name = entry.template.name
        reads_like = first.setdefault(_reading(entry, task, examples), name)
        if reads_like != name:
            findings.append(_warning("duplicate", f"reads the same as {reads_like!r}"))
    if task is not None and entries:
        inverted = [findings for entry, findings in zip(entries, found, strict=True) if entry.template.inverted]
        for findings in inverted[MOST_INVERTED:]:
            findings.append(_warning("inverted", f"more than {MOST_INVERTED} templates of the task are inverted"))
        if len(inverted) == len(entries):
            found[0].append(_error("inverted", "every template of the task is inverted; none can be tested"))
    return found


def _lint(entry: Entry, task: Task | None, examples: Sequence[Example]) -> list[Finding]:
    template = entry.template
    found = [_error(fault.rule, str(fault)) for fault in faults(template, task)]
    if entry.answers is not None:
        try:
            compile_pattern(entry.answers)
        except PatternError as error:
            found.append(_error(error.rule, str(error.at("answer_choices"))))
    patterns = _patterns(template)
    found += _escapes([*(text for pattern in patterns for text in pattern.texts), *(template.choices or ())])
    found += _border(template)
    if task is not None and len(patterns) == 2:
        found += _fit(template, task, *patterns)
    if task is not None and not any(finding.severity == "error" for finding in found):
        found += _on_examples(template, task, examples)
    return found


def _patterns(template: Template) -> list[Pattern]:
    """The patterns of input and target, as far as they can be compiled."""
    compiled = []
    for pattern in (template.input, template.target):
        try:
            compiled.append(compile_pattern(pattern))
        except PatternError:
            continue
    return compiled


def _escapes(texts: list[str]) -> Iterator[Finding]:
    for what, pattern in BROKEN.items():
        hit = next((match for text in texts if (match := re.search(pattern, text))), None)
        if hit:
            around = hit.string[max(0, hit.start() - 10) : hit.end() + 10]
            yield _warning("escape", f"{what}: {' '.join(around.split())!r}")


def _border(template: Template) -> Iterator[Finding]:
    if template.input.removesuffix("\n") != template.input.rstrip():
        yield _warning("border", "white space at the end of the input, which is cut off")
    if template.target != template.target.lstrip():
        yield _warning("border", "white space at the beginning of the target, which is cut off")


def _asked_for(target: Pattern, task: Task) -> list[str]:
    """Input fields in the target; `answer` is the worded answer there, whatever the fields are called."""
    return [name for name in task.inputs if name in target.names and name != "answer"]


def _fit(template: Template, task: Task, source: Pattern, target: Pattern) -> Iterator[Finding]:
    fields = _asked_for(target, task)
    if fields and not template.inverted:
        yield _error("inverted", f"the target asks for the input field {fields[0]!r}; mark the template as inverted")
    if template.inverted and not fields:
        yield _warning("inverted", "marked as inverted, though its target holds no input field")
    if not fields and "answer" not in target.names:
        yield _error("options", "the target is the same for every answer")
    if "options_list" in source.names and task.output.kind == "text":
        yield _warning("options", "the task has no options to list")
    unused = [name for name in task.inputs if name not in source.names and name not in fields]
    if unused and "input_fields" not in source.names:
        yield _warning("unused", f"leaves out {' and '.join(map(repr, unused))}")


def _on_examples(template: Template, task: Task, examples: Sequence[Example]) -> Iterator[Finding]:
    try:
        rendered = [render(template, task, example) for example in examples]
    except UserError as error:
        yield _error(error.rule if isinstance(error, PatternError) else "fails", error.what)
        return
    for what in ("input", "target"):
        empty = sum(not getattr(one, what) for one in rendered)
        if empty:
            yield _error("empty", f"the {what} of {empty} of {len(rendered)} rows is empty")
    pairs = list(zip(rendered, examples, strict=True))
    for one, example in pairs:
        answers = {answer.strip() for answer in answers_of(template, task, example)[0]}
        if not template.inverted and len(set(one.options)) < len(answers):
            yield _error("options", "the target reads the same for two options, one of which is never reached")
            break
    leaks = [one.target for one, example in pairs if _leaks(one, template, task, example)]
    if leaks and pairs[0][0].options:
        yield _warning("leak", f"the input names the answer {leaks[0]!r} and not all of the others")
    elif len(leaks) > len(pairs) / 2:
        yield _error("leak", f"the target stands in the input of {len(leaks)} of {len(pairs)} rows")


def _leaks(one: Rendered, template: Template, task: Task, example: Example) -> bool:
    """Does the target stand in the input, where neither a list of options nor another field brings it there?"""
    text = _folded(one.input)
    if one.options and _within(one.options[0], text) and _within(one.options[-1], text):
        return False  # a list, or the two ends of a scale
    asked_for = _asked_for(compile_pattern(template.target), task)
    others = [field for name, field in zip(task.inputs, example.inputs, strict=True) if name not in asked_for]
    return _within(one.target, text) and not any(_within(one.target, _folded(field)) for field in others)


def _within(words: str, folded: str) -> bool:
    words = _folded(words)
    return words in folded and re.search(rf"(?<!\w){re.escape(words)}(?!\w)", folded) is not None


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _reading(entry: Entry, task: Task | None, examples: Sequence[Example]) -> object:
    """How a template reads on the examples; equal for templates that say the same."""
    template = entry.template
    if task is not None and examples:
        try:
            rendered = [render(template, task, example) for example in examples]
        except UserError:
            pass
        else:
            return tuple((_folded(one.input), _folded(one.target)) for one in rendered)
    texts = (template.input, template.target, *(template.choices or ()), entry.answers or "")
    return tuple(map(_folded, texts))
