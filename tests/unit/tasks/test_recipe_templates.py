from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from multigraft.tasks.outputs import Choice, Example, Number
from multigraft.tasks.suite import load_suite
from multigraft.tasks.task import Task, load_task

RECIPES = Path(__file__).resolve().parents[3] / "recipes"
FOLDERS = sorted(path.parent for path in RECIPES.rglob("templates.yaml"))
SUITES = sorted(path.parent for path in RECIPES.rglob("suite.yaml"))
ROWS = 5


def made_up(task: Task, row: int) -> Example:
    """An example of the task that needs none of its data."""
    inputs = tuple(f"Words {row} of {name}" for name in task.inputs)
    output = task.output
    if isinstance(output, Choice):
        options = output.choices or tuple(f"Option {index} of {row}" for index in range(3))
        return Example(inputs, options, row % len(options))
    if isinstance(output, Number):
        return Example(inputs, (), min(output.range[0] + row, output.range[1]))
    return Example(inputs, (), f"Reply {row}")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(RECIPES).as_posix())
def test_at_least_five_wordings(folder: Path, check_templates: Callable) -> None:
    task = load_task(folder)
    assert len(check_templates(task, [made_up(task, row) for row in range(ROWS)])) >= 5


@pytest.mark.parametrize("folder", SUITES, ids=lambda folder: folder.name)
def test_every_task_of_a_suite_is_worded(folder: Path) -> None:
    assert [name for name, task in load_suite(folder).tasks.items() if task.folder.resolve() not in FOLDERS] == []
