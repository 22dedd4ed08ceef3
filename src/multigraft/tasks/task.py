"""A task: named text fields in, one output; where its rows lie; and reading them strictly."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from multigraft.errors import UserError, unknown
from multigraft.settings import Record, build, read_yaml
from multigraft.tasks.outputs import Choice, Example, Fault, Name, Number, Output, Text, text_in
from multigraft.tasks.readers import Report, hub, reader_for, stop
from multigraft.tasks.readers.hub import HubSource

__all__ = ["Choice", "Example", "HubSource", "Metric", "Number", "Task", "Text", "load_task"]

DATA = "MULTIGRAFT_DATA"  # environment variable; `$MULTIGRAFT_DATA` in a path stands for its value

Metric = Literal[
    "accuracy",
    "f1",
    "macro_f1",
    "matthews",
    "pearson",
    "spearman",
    "exact_match",
    "token_f1",
    "rouge1",
    "rouge2",
    "rougeL",
    "bleu",
    "chrf",
]
METRICS: dict[str, tuple[Metric, ...]] = {
    "choice": ("accuracy", "f1", "macro_f1", "matthews"),
    "number": ("pearson", "spearman"),
    "text": ("exact_match", "token_f1", "rouge1", "rouge2", "rougeL", "bleu", "chrf"),
}


class Task(Record):
    """What is asked and where its rows lie: the contents of a `task.yaml`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    description: str = ""
    cluster: str | tuple[str, ...]  # one name, or several
    inputs: Annotated[tuple[Name, ...], Field(min_length=1)]  # text fields, in the order in which they are read
    output: Output
    metric: Metric
    licence: str = ""
    origin: str = ""
    citation: str = ""
    note: str = ""
    sources: tuple[Name, ...] = ()  # names of the corpora that its texts come from
    splits: dict[Name, Name] = Field(default_factory=dict)  # split: file, relative to the task's folder
    source: HubSource | None = None  # used when no file of `splits` exists

    _folder: Path = PrivateAttr(default=Path())

    @field_validator("cluster", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not names or not all(isinstance(n, str) and n for n in names):
            raise ValueError("a cluster is a name, or a list of names")
        return value if isinstance(value, str) else tuple(dict.fromkeys(names))

    @model_validator(mode="after")
    def _fits_together(self) -> Task:
        output, metrics = self.output, METRICS[self.output.kind]
        choice = output if isinstance(output, Choice) else None
        by_row = choice.choices_field if choice else None
        taken = [*self.inputs, output.field, *([by_row] if by_row else [])]
        twice = [name for name in taken if taken.count(name) > 1]
        if twice:
            raise ValueError(f"field {twice[0]!r} is used twice; inputs, answer and options are different fields")
        if self.metric not in metrics:
            raise ValueError(f"metric {self.metric!r} does not suit a {output.kind}; use {', '.join(metrics)}")
        if by_row and self.metric != "accuracy":
            raise ValueError(f"metric {self.metric!r} needs fixed options; use accuracy")
        if self.metric == "f1" and choice and choice.choices and len(choice.choices) != 2:
            raise ValueError("metric 'f1' needs two options, the positive one last; use macro_f1")
        if not self.splits and self.source is None:
            raise ValueError("the task has no data; name files in 'splits' or a hub data set in 'source'")
        return self

    def at(self, folder: Path) -> Task:
        """The same task with its files looked for in `folder`."""
        task = self.model_copy()
        task._folder = folder
        return task

    @property
    def clusters(self) -> tuple[str, ...]:
        """Names of the clusters that the task belongs to."""
        return (self.cluster,) if isinstance(self.cluster, str) else self.cluster

    @property
    def head_outputs(self) -> int:
        """Values that a head gives for a text: one for each fixed option, else one."""
        return len(self.output.choices or ()) or 1 if self.output.kind == "choice" else 1

    @property
    def folder(self) -> Path:
        """The folder that paths in `splits` are relative to."""
        return self._folder

    def path(self, split: str) -> Path:
        """The file of a local split. A variable that is not set stays in the path as it is written."""
        value, text = os.environ.get(DATA), self.splits[split]
        path = Path(text.replace(f"${DATA}", os.path.abspath(value)) if value else text)
        return path if text.startswith(f"${DATA}") else self._folder / path

    @property
    def hub_source(self) -> HubSource | None:
        """The hub data set when the rows come from there, None when they come from files.

        All splits come from one place, so that a row of one is never a row of another.
        """
        return None if any(self.path(split).exists() for split in self.splits) else self.source

    def split_names(self) -> tuple[str, ...]:
        """Names of the splits, in the order in which they are declared."""
        source = self.hub_source
        return tuple(source.splits if source else self.splits)

    def examples(self, split: str, limit: int | None = None) -> list[Example]:
        """All rows of a split, validated; with `limit` a sample of that many, in file order.

        The sample is the same for everybody, and a smaller one is part of every larger one. Raises UserError with
        file and line at the first bad row.
        """
        if limit is not None and limit < 1:
            raise UserError(f"a limit of {limit} rows leaves nothing", where=self.name, fix="give at least 1")
        examples = [example for _, example in self.scan(split)]
        if not examples:
            raise UserError("no rows", where=self.where(split))
        return examples if limit is None else sample(examples, limit)

    def scan(self, split: str, report: Report = stop) -> Iterator[tuple[int, Example]]:
        """Line number and example of each row; faults go to `report` as UserErrors with file and line.

        Raises UserError when there is no such split or its rows cannot be reached.
        """
        where = self.where(split)
        for line, row in self._rows(split, report):
            try:
                example = self._example(row)
            except Fault as fault:
                report(UserError(str(fault), where=f"{where}:{line}"))
            else:
                yield line, example

    def where(self, split: str) -> str:
        """Name of a split's file, or of its place on the hub, in messages. Raises UserError for an unknown split."""
        if split not in self.split_names():
            raise unknown("split", split, self.split_names(), where=f"task {self.name}")
        source = self.hub_source
        return source.where(split) if source else str(self.path(split))

    def _rows(self, split: str, report: Report) -> Iterator[tuple[int, Mapping[str, Any]]]:
        source = self.hub_source
        if source is None:
            yield from self._local_rows(self.path(split), report)
            return
        try:
            data = hub.load(source, split)
        except UserError as error:
            files = f"; or provide the file {self.path(split)}" if split in self.splits else ""
            fix = f"check the name and the network{files}{self._unset()}"
            raise UserError(error.what, where=error.where, fix=fix) from None
        yield from hub.rows(source, split, self.output.field, data, report)

    def _local_rows(self, path: Path, report: Report) -> Iterator[tuple[int, Mapping[str, Any]]]:
        if not path.is_file():
            hub_too = "" if self.source else f", and task {self.name} names no hub data set in 'source'"
            raise UserError(
                f"no such file{hub_too}", where=path, fix=f"provide the file or mend 'splits'{self._unset()}"
            )
        reader = reader_for(path)
        for line, row in reader.rows(path, report):
            try:
                yield line, row if reader.typed else self.output.from_cells(row)
            except Fault as fault:
                report(UserError(str(fault), where=f"{path}:{line}"))

    def _unset(self) -> str:
        needed = any(f"${DATA}" in text for text in self.splits.values())
        return f"; {DATA} is not set" if needed and not os.environ.get(DATA) else ""

    def _example(self, row: Mapping[str, Any]) -> Example:
        inputs = tuple(text_in(row, name) for name in self.inputs)
        if not any(text.strip() for text in inputs):
            raise Fault(f"empty row: no text in {', '.join(map(repr, self.inputs))}")
        return Example(inputs, *self.output.read(row))


def sample(examples: list[Example], limit: int) -> list[Example]:
    """At most `limit` of the examples, in their order; a smaller sample is part of every larger one."""
    if limit >= len(examples):
        return examples
    order = list(range(len(examples)))
    random.Random(0).shuffle(order)
    return [examples[row] for row in sorted(order[:limit])]


def load_task(folder: Path) -> Task:
    """The task described by `folder/task.yaml`. Raises UserError."""
    path = folder / "task.yaml"
    return build(Task, read_yaml(path), path).at(folder)
