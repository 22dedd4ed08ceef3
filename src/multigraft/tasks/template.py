"""Templates: wordings of a task as instructions, and examples rendered by them.

After FLAN (Wei et al. 2022, "Finetuned Language Models Are Zero-Shot Learners", section 2.1): several templates per
task, a list of the options at the end of a classification, and some templates turned around, for training only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import field_validator

from multigraft.errors import UserError, unknown
from multigraft.settings import Record, build, read_text, read_yaml
from multigraft.tasks.jinja import PatternError, compile_pattern, missing
from multigraft.tasks.outputs import Choice, Example, Name, Number
from multigraft.tasks.task import Task

FILE = "templates.yaml"  # beside a task's task.yaml
ANSWER = "{{ answer }}"
# What a pattern may use beside the task's input fields; and the answer, in targets and in inverted templates.
VARIABLES = ("description", "input_fields", "options", "options_list", "task_name")


class Template(Record):
    """One wording of a task: patterns of its input and of its target."""

    name: Name
    input: str
    target: str = ANSWER
    choices: tuple[str, ...] | None = None  # the task's fixed options in words, in their order
    inverted: bool = False  # turned around: an input field is asked for; for training only

    @field_validator("choices", mode="before")
    @classmethod
    def _only_texts(cls, value: Any) -> Any:
        for option in value if isinstance(value, list | tuple) else ():
            if not isinstance(option, str):
                raise ValueError(f"option {option!r} is not text; put it in quotes")
        return value


@dataclass(frozen=True, slots=True)
class Rendered:
    """An example in words, without white space at either end."""

    input: str
    target: str
    options: tuple[str, ...]  # C worded answers, one of which is the target; empty for texts and inverted templates
    template: str


NO_TEMPLATE = (Template(name="no template", input='{{ input_fields | join("\n") }}'),)
TASK_NAME = (Template(name="task name", input='{{ task_name }}\n{{ input_fields | join("\n") }}'),)
# For tasks that come with an instruction of their own, as those of BIG-bench and Super-NaturalInstructions do.
DESCRIPTION = (
    Template(name="description", input='{{ description }}\n\n{{ input_fields | join("\n") }}\n\n{{ options_list }}'),
)
BUILT_IN = (*NO_TEMPLATE, *TASK_NAME, *DESCRIPTION)


def render(template: Template, task: Task, example: Example, *, options: bool = True) -> Rendered:
    """The example in the words of the template; with `options=False` the list of options stays empty.

    Raises UserError for a template that does not fit the task.
    """
    try:
        return _render(template, task, example, options)
    except PatternError as error:
        raise error.at(f"task {task.name}, template {template.name!r}") from None


def _render(template: Template, task: Task, example: Example, with_list: bool) -> Rendered:
    answers, right = answers_of(template, task, example)
    values: dict[str, Any] = dict(zip(task.inputs, example.inputs, strict=True))
    values["options"] = list(answers)
    values["options_list"] = "\n- ".join(("OPTIONS:", *answers)) if answers and with_list else ""
    values["input_fields"] = [text for text in example.inputs if text.strip()]
    values["task_name"], values["description"] = task.name, task.description
    if template.inverted:
        values["answer"] = right
        text, target = compile_pattern(template.input).render(values), compile_pattern(template.target).render(values)
        return Rendered(text.strip(), target.strip(), (), template.name)
    text = compile_pattern(template.input).render(values)
    worded = _targets(template.target, answers or (right,), values)
    target = worded[answers.index(right)] if answers else worded[0]
    return Rendered(text.strip(), target, worded if answers else (), template.name)


def answers_of(template: Template, task: Task, example: Example) -> tuple[tuple[str, ...], str]:
    """The worded answers, C of them and none for a text, and the right one. Raises PatternError."""
    output = task.output
    if isinstance(output, Number):
        words = number_words(*output.range)
        return words, min(words, key=lambda word: abs(float(word) - float(example.target)))
    if not isinstance(output, Choice):
        return (), str(example.target)
    answers = example.choices if template.choices is None else template.choices
    if len(answers) != len(example.choices):
        raise _unlike(template, len(example.choices))
    return answers, answers[int(example.target)]


def _targets(pattern: str, answers: tuple[str, ...], values: dict[str, Any]) -> tuple[str, ...]:
    if pattern == ANSWER:
        return tuple(map(str.strip, answers))
    if compile_pattern(pattern).names <= {"answer"}:
        return _fixed_targets(pattern, answers)
    return tuple(compile_pattern(pattern).render({**values, "answer": answer}).strip() for answer in answers)


@lru_cache(maxsize=1024)
def _fixed_targets(pattern: str, answers: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(compile_pattern(pattern).render({"answer": answer}).strip() for answer in answers)


@lru_cache
def number_words(low: float, high: float) -> tuple[str, ...]:
    """The answers to a number task: the whole numbers of a range that spans 2 to 20, else 11 evenly spaced values."""
    if 2 <= high - low <= 20:
        return tuple(f"{number:g}" for number in range(math.ceil(low), math.floor(high) + 1))
    return tuple(f"{number:g}" for number in np.linspace(low, high, 11))


def faults(template: Template, task: Task | None) -> Iterator[PatternError]:
    """What makes a template unusable: for the task, or for any where there is none."""
    for part, pattern in (("input", template.input), ("target", template.target)):
        try:
            compiled = compile_pattern(pattern)
        except PatternError as error:
            yield error.at(part)
            continue
        if compiled.blank:
            yield PatternError("empty", f"there is no {part}", fix="write one")
        elif task is not None:
            yield from _faults_of_names(part, compiled.names, template, task)
    yield from _faults_of_choices(template, task)


def _faults_of_names(part: str, names: frozenset[str], template: Template, task: Task) -> Iterator[PatternError]:
    answer_known = part == "target" or template.inverted
    known = [*task.inputs, *VARIABLES, *(["answer"] if answer_known else [])]
    # In a target, `answer` is the worded answer even where an input field has that name.
    taken = names.intersection(task.inputs).intersection(VARIABLES if part == "target" else known[len(task.inputs) :])
    if taken:
        what = f"{min(taken)!r} is both an input field of task {task.name} and a variable of templates"
        yield PatternError("missing field", what, where=part, fix="rename the field")
    elif "answer" in names and "answer" not in known:
        fix = "leave it out, or mark the template as inverted and ask for an input field"
        yield PatternError("leak", "the input gives the answer away", where=part, fix=fix)
    elif not names <= set(known):
        yield missing(names.difference(known), known).at(part)


def _faults_of_choices(template: Template, task: Task | None) -> Iterator[PatternError]:
    if template.choices is None:
        return
    worded = [choice.strip() for choice in template.choices]
    if "" in worded:
        yield PatternError("options", "a choice has no words", where="choices")
    if len(set(worded)) < len(worded):
        twice = next(choice for choice in worded if worded.count(choice) > 1)
        yield PatternError(
            "options", f"{twice!r} stands for two options, one of which is never reached", where="choices"
        )
    if task is not None:
        fixed = task.output.choices if isinstance(task.output, Choice) else None
        if fixed is None:
            what = f"task {task.name} has no fixed options to put in words"
            yield PatternError("options", what, where="choices", fix="leave 'choices' out")
        elif len(fixed) != len(worded):
            yield _unlike(template, len(fixed))


def _unlike(template: Template, count: int) -> PatternError:
    what = f"{len(template.choices or ())} choices for {count} options"
    return PatternError("options", what, where="choices", fix="word each option once, in the task's order")


def read_templates(path: Path) -> list[tuple[int, Template]]:
    """Line and template, for each of a `templates.yaml`; their patterns are not looked into. Raises UserError."""
    data = read_yaml(path)
    if not isinstance(data, dict) or set(data) != {"templates"} or not isinstance(data["templates"], list):
        raise UserError(
            "not a list of templates", where=path, fix="write 'templates:' and a list of templates under it"
        )
    root: Any = yaml.compose(read_text(path), Loader=yaml.SafeLoader)
    lines = [item.start_mark.line + 1 for item in root.value[0][1].value]
    templates = [build(Template, item, f"{path}:{line}") for line, item in zip(lines, data["templates"], strict=True)]
    if not templates:
        raise UserError("holds no template", where=path, fix="write one, or remove the file")
    names = [template.name for template in templates]
    for line, name in zip(lines[::-1], names[::-1], strict=True):
        if names.count(name) > 1:
            raise UserError(f"two templates are called {name!r}", where=f"{path}:{line}", fix="rename one")
    return list(zip(lines, templates, strict=True))


def load_templates(task: Task) -> tuple[Template, ...]:
    """The templates in the task's folder, each of which fits the task; none where there is no file of them.

    Raises UserError with file, line and template for the first that does not.
    """
    path = task.folder / FILE
    if not path.exists():
        return ()
    templates = read_templates(path)
    for line, template in templates:
        for fault in faults(template, task):
            raise fault.at(f"{path}:{line}: template {template.name!r}")
    return tuple(template for _, template in templates)


def choose_templates(task: Task, name: str) -> tuple[Template, ...]:
    """The templates that `name` stands for: `all` of the task's own, one of them, or a built-in one.

    Raises UserError for an unknown name, and for `all` where the task has none.
    """
    built_in = {template.name: template for template in BUILT_IN}
    own = {template.name: template for template in load_templates(task)}
    if name == "all":
        if not own:
            fix = f"write them into {task.folder / FILE}, or ask for {' or '.join(map(repr, built_in))}"
            raise UserError("has no templates", where=f"task {task.name}", fix=fix)
        return tuple(own.values())
    named = built_in | own
    if name not in named:
        raise unknown("template", name, ["all", *named], where=f"task {task.name}")
    return (named[name],)


def assign(templates: Sequence[Template], task: Task, count: int, seed: int, *, training: bool) -> np.ndarray:
    """Which template each of `count` examples of a task gets: indices into `templates`, (count,) int64.

    Example i's template depends on the seed, the task's name, the templates and i alone, however many examples there
    are. Of any K examples from a multiple of K on, each of the K templates gets one, in random order. Inverted
    templates take part in training only. Raises UserError when none is left.
    """
    usable = np.array([i for i, template in enumerate(templates) if training or not template.inverted], dtype=np.int64)
    if not len(usable):
        what = "every template is inverted" if templates else "there is no template"
        raise UserError(what, where=f"task {task.name}", fix="write one that asks for the answer")
    digest = hashlib.blake2b(repr(("templates", seed, task.name)).encode(), digest_size=16).digest()
    # Random numbers are drawn row after row: more rows leave the earlier ones as they are.
    draws = np.random.default_rng(int.from_bytes(digest, "little")).random((-(-count // len(usable)), len(usable)))
    return usable[draws.argsort(axis=1).ravel()[:count]]
