"""Import of a folder whose `index.json` describes every task: `<task>/<split>.jsonl` beside it."""

from __future__ import annotations

from pathlib import Path

from multigraft.errors import UserError
from multigraft.settings import Record, build
from multigraft.tasks.outputs import Choice, Output
from multigraft.tasks.readers.json import read_json
from multigraft.tasks.task import Metric, Task


class Entry(Record):
    """One task in `index.json`. Options per row are also listed among its inputs."""

    cluster: str
    inputs: tuple[str, ...]
    output: Output
    metric: Metric
    rows: dict[str, int]  # rows per split
    origin: str = ""
    licence: str = ""
    note: str = ""
    description: str = ""


def read_index(path: Path) -> list[Task]:
    """The tasks of an `index.json`, in its order. Raises UserError."""
    entries = read_json(path)
    if not isinstance(entries, dict):
        raise UserError("expected an object with a task under each name", where=path)
    return [_task(name, build(Entry, entry, f"{path}: {name}"), path) for name, entry in entries.items()]


def _task(name: str, entry: Entry, path: Path) -> Task:
    options = entry.output.choices_field if isinstance(entry.output, Choice) else None
    data = entry.model_dump(exclude={"rows"}) | {
        "name": name,
        "inputs": [field for field in entry.inputs if field != options],
        "splits": {split: f"{name}/{split}.jsonl" for split in entry.rows},
    }
    return build(Task, data, f"{path}: {name}").at(path.parent)
