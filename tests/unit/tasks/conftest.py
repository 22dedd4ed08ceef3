"""What the wordings of every suite that ships have to keep to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import pytest

from multigraft.tasks.lint import MOST_INVERTED, lint_all
from multigraft.tasks.outputs import Example
from multigraft.tasks.task import Task
from multigraft.tasks.template import Template, load_templates, render
from multigraft.tasks.template_readers import Entry


def _check(task: Task, examples: Sequence[Example]) -> tuple[Template, ...]:
    templates = load_templates(task)  # names are unique, fields exist, worded choices match the task's options
    assert sum(template.inverted for template in templates) <= MOST_INVERTED
    for template in templates:
        for pattern in (template.input, template.target):
            assert pattern == pattern.strip(), template.name
    found = lint_all([Entry(template, "") for template in templates], task, examples)
    assert {template.name: faults for template, faults in zip(templates, found, strict=True) if faults} == {}
    for example, options in product(examples, (True, False)):
        rendered = [render(template, task, example, options=options) for template in templates]
        assert len({one.input for one in rendered}) == len(templates), "two of them read the same"
    return templates


@pytest.fixture(scope="session")
def check_templates() -> Callable[[Task, Sequence[Example]], tuple[Template, ...]]:
    """Check the wordings of a task on some of its rows, and return them."""
    return _check
