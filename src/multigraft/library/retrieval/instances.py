"""Instances without labels: those of a task, the rows of a file, or plain texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from multigraft.errors import UserError
from multigraft.library.retrieval.text_formats import KeyText
from multigraft.tasks.outputs import Example, Fault, Output, text_in
from multigraft.tasks.readers import reader_for
from multigraft.tasks.suite import load_suite
from multigraft.tasks.task import Task, sample

TASK, INDEX = "task.yaml", "index.json"
TEXT = "text"  # the field of a file that is read if there is one
_LIKED = ("validation", "test")  # splits of a target, before any other: keys are made of the training rows


@dataclass(frozen=True)
class Instances:
    """Rows, the names of their fields, and what is asked of them; None where only the texts are known."""

    examples: list[Example]
    inputs: tuple[str, ...]
    output: Output | None = None

    def texts(self, text: KeyText) -> list[str]:
        """Each in a text format. Raises UserError as `KeyText.render`."""
        return [text.render(example, self.inputs, self.output) for example in self.examples]


def read_instances(path: Path, limit: int, fields: Sequence[str] = (), split: str | None = None) -> Instances:
    """At most `limit` instances of a task's folder, or of a jsonl, csv, tsv, json or parquet file.

    Of a file: the `fields`, or the field `text`, or all fields that hold text in its first row. Of a task: the inputs
    of a split, by default of validation or test. Raises UserError for anything unreadable, with file and line.
    """
    if limit < 1:
        raise UserError(f"{limit} queries", fix="take at least 1")
    if not path.is_dir():
        if split is not None:
            raise UserError("a file has no splits", where=path, fix="leave --split out, or give the task's folder")
        return _of_file(path, limit, fields)
    if fields:
        raise UserError("a task names its fields itself", where=path, fix="leave --field out, or give a file of rows")
    task = _task_of(path)
    splits = task.split_names()
    return of_task(task, split or next((name for name in _LIKED if name in splits), splits[0]), limit)


def _task_of(folder: Path) -> Task:
    """The task in a folder, which describes it itself or lies in a suite with an index."""
    indexed = (folder.parent / INDEX).exists() and not (folder / TASK).exists()
    suite = load_suite(folder.parent).subset([folder.name]) if indexed else load_suite(folder)
    if len(suite.tasks) > 1:
        raise UserError(f"holds {len(suite.tasks)} tasks", where=folder, fix="give the folder of one of them")
    return next(iter(suite.tasks.values()))


def of_task(task: Task, split: str, limit: int) -> Instances:
    """A sample of a task's rows, the same for everybody. Raises UserError with file and line for a bad row."""
    return Instances(task.examples(split, limit), task.inputs, task.output)


def of_texts(texts: Sequence[str]) -> Instances:
    """Texts by themselves. Raises UserError for one without words."""
    for text in texts:
        if not text.strip():
            raise UserError("a text has no words", fix="give some")
    return Instances([Example((text,), (), "") for text in texts], (TEXT,))


def _of_file(path: Path, limit: int, fields: Sequence[str]) -> Instances:
    examples, inputs = [], tuple(fields)
    for line, row in reader_for(path).rows(path):
        if not inputs:
            inputs = (TEXT,) if TEXT in row else tuple(name for name, value in row.items() if isinstance(value, str))
        try:
            values = tuple(text_in(row, name) for name in inputs)
            if not any(value.strip() for value in values):
                raise Fault("no text in it")
        except Fault as fault:
            raise UserError(str(fault), where=f"{path}:{line}") from None
        examples.append(Example(values, (), ""))
    if not examples:
        raise UserError("no rows", where=path)
    return Instances(sample(examples, limit), inputs)
