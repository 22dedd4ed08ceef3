"""Suites: tasks in order, their clusters, and pairs of clusters too close for one to be a test of the other."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from multigraft.errors import UserError, unknown
from multigraft.settings import Record, build, read_yaml
from multigraft.tasks import bigbench, natural_instructions
from multigraft.tasks.index import read_index
from multigraft.tasks.outputs import Name
from multigraft.tasks.task import Task, load_task

EMBEDDED = ("starter",)  # suites that come with the package
RECIPES = Path("recipes")  # where a bare name is looked for, from the working folder

Pair = tuple[Name, Name]


@dataclass(frozen=True)
class Suite:
    """Tasks by name, in order, with the exclusions that hold between their clusters."""

    name: str
    tasks: dict[str, Task]
    description: str = ""
    exclusions: tuple[Pair, ...] = ()

    @property
    def clusters(self) -> dict[str, tuple[str, ...]]:
        """Names of the tasks in each cluster, in order."""
        names = dict.fromkeys(cluster for task in self.tasks.values() for cluster in task.clusters)
        return {c: tuple(task.name for task in self.tasks.values() if c in task.clusters) for c in names}

    def subset(self, names: Iterable[str]) -> Suite:
        """The suite with only the named tasks, in the order of `names`. Raises UserError for an unknown one."""
        chosen: dict[str, Task] = {}
        for name in names:
            if name not in self.tasks:
                raise unknown("task", name, self.tasks, where=f"suite {self.name}")
            chosen[name] = self.tasks[name]
        left = {cluster for task in chosen.values() for cluster in task.clusters}
        return replace(self, tasks=chosen, exclusions=tuple(p for p in self.exclusions if left.issuperset(p)))


class SuiteFile(Record):
    """The contents of a `suite.yaml`."""

    name: Name
    description: str = ""
    tasks: Annotated[tuple[Name, ...], Field(min_length=1)]  # folders with a task.yaml, relative to this file
    # Names of tasks by cluster; where given, they stand instead of the clusters in the task files.
    clusters: dict[Name, tuple[Name, ...]] = Field(default_factory=dict)
    exclusions: tuple[Pair, ...] = ()


def load_suite(place: str | os.PathLike[str]) -> Suite:
    """The suite at `place`, described completely and strictly; its rows are checked when they are used.

    `place` is the name of an embedded suite, a folder with a `suite.yaml`, `index.json` or `task.yaml` (a suite of
    one task), such a file itself, a folder of BIG-bench or Super-NaturalInstructions tasks, or the name of a folder
    in `recipes`. Raises UserError for anything wrong.
    """
    if str(place) in EMBEDDED:
        from multigraft.tasks import starter

        return starter.load()
    path = Path(place)
    if not path.exists() and path.name == str(place) and (RECIPES / path).exists():
        path = RECIPES / path
    if not path.exists():
        fix = f"give a folder with one of {', '.join(LAYOUTS)}, or an embedded suite: {', '.join(EMBEDDED)}"
        raise UserError("no such suite", where=place, fix=fix)
    files = [path] if path.is_file() else [path / name for name in LAYOUTS if (path / name).exists()]
    if not files and bigbench.task_files(path):
        return _from_bigbench(path / bigbench.FILE)
    if not files and natural_instructions.task_files(path):
        return Suite(path.resolve().name, _by_name(natural_instructions.read_natural_instructions(path), path))
    if not files or files[0].name not in LAYOUTS:
        fix = f"it needs one of {', '.join(LAYOUTS)}; of tables: multigraft tasks init"
        raise UserError("not a suite", where=path, fix=fix)
    return LAYOUTS[files[0].name](files[0])


def _from_suite_file(path: Path) -> Suite:
    file = build(SuiteFile, read_yaml(path), path)
    tasks = _regrouped(_by_name([load_task(path.parent / folder) for folder in file.tasks], path), file.clusters, path)
    suite = Suite(file.name, tasks, file.description, file.exclusions)
    for pair in suite.exclusions:
        for cluster in pair:
            if cluster not in suite.clusters:
                raise unknown("cluster", cluster, suite.clusters, where=f"{path}: exclusions")
        if pair[0] == pair[1]:
            raise UserError(
                f"cluster {pair[0]!r} excludes itself", where=f"{path}: exclusions", fix="name two clusters"
            )
    return suite


def _from_index(path: Path) -> Suite:
    return Suite(path.resolve().parent.name, _by_name(read_index(path), path))


def _from_task_file(path: Path) -> Suite:
    task = load_task(path.parent)
    return Suite(task.name, {task.name: task}, task.description)


def _from_bigbench(path: Path) -> Suite:
    """The tasks in the folder of `path`, which need not exist itself."""
    return Suite(path.resolve().parent.name, _by_name(bigbench.read_bigbench(path.parent), path.parent))


LAYOUTS = {
    "suite.yaml": _from_suite_file,
    "index.json": _from_index,
    "task.yaml": _from_task_file,
    bigbench.FILE: _from_bigbench,
}


def _by_name(tasks: list[Task], where: Path) -> dict[str, Task]:
    named: dict[str, Task] = {}
    for task in tasks:
        if task.name in named:
            raise UserError(f"two tasks are called {task.name!r}", where=where, fix="rename one or list it once")
        named[task.name] = task
    return named


def _regrouped(tasks: dict[str, Task], clusters: dict[str, tuple[str, ...]], where: Path) -> dict[str, Task]:
    """The tasks with their clusters taken from the suite file, when it has any."""
    for name in (name for names in clusters.values() for name in names):
        if name not in tasks:
            raise unknown("task", name, tasks, where=f"{where}: clusters")
    if not clusters:
        return tasks
    groups = {name: tuple(c for c, names in clusters.items() if name in names) for name in tasks}
    for name, group in groups.items():
        if not group:
            raise UserError(f"task {name!r} stands in no cluster", where=f"{where}: clusters", fix="add it to one")
    return {
        name: task.model_copy(update={"cluster": group[0] if len(group) == 1 else group})
        for (name, task), group in zip(tasks.items(), groups.values(), strict=True)
    }
