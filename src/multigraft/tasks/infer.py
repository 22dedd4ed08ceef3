"""A suite from a plain folder of tables: what each column is for is inferred, and said.

`infer_suite` reads and decides, `write_suite` writes a folder that `load_suite` takes. The tables are never touched.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import yaml

from multigraft.errors import UserError, unknown
from multigraft.files import new_folder
from multigraft.tasks import bigbench, natural_instructions
from multigraft.tasks.readers import READERS
from multigraft.tasks.readers.json import read_json
from multigraft.tasks.suite import LAYOUTS
from multigraft.tasks.table_task import Inferred, infer_task
from multigraft.tasks.tables import find_files, read_tables


def is_plain_folder(folder: Path) -> bool:
    """Whether a folder holds tables and is no suite yet."""
    if not folder.is_dir() or any((folder / name).exists() for name in LAYOUTS) or bigbench.task_files(folder):
        return False
    described = [path for files in natural_instructions.task_files(folder).values() for path in files.values()]
    if described and isinstance(read_json(described[0]), dict):
        return False
    return bool(find_files(folder))


def infer_suite(folder: Path, text: Sequence[str] = (), label: Sequence[str] = ()) -> list[Inferred]:
    """The tasks of the tables in `folder` and its sub-folders.

    `text` names columns to read and `label` the one with the answer: TASK:COLUMN, or COLUMN for all that have it.
    Raises UserError for a folder or a table from which no task can be made.
    """
    if not folder.is_dir():
        raise UserError("not a folder", where=folder, fix="give the folder that the tables lie in")
    if not is_plain_folder(folder):
        if find_files(folder):
            raise UserError("is a suite as it is", where=folder, fix="give it to the other commands")
        raise UserError("no tables", where=folder, fix=f"put files of the formats {', '.join(READERS.names())} there")
    tables = {name: read_tables(paths) for name, paths in find_files(folder).items()}
    columns = {
        name: {column for table in own.values() for row in table.rows for column in row} for name, own in tables.items()
    }
    texts, labels = _by_task("--text", text, columns), _by_task("--label", label, columns)
    for name, asked in labels.items():
        if len(asked) > 1:
            what = f"two columns for the answer of {name}: {', '.join(asked)}"
            raise UserError(what, where="--label", fix="name one")
    return [infer_task(name, own, texts[name], next(iter(labels[name]), None)) for name, own in tables.items()]


def write_suite(inferred: Sequence[Inferred], output: Path, replace: bool = False) -> Path:
    """Write the tasks and their rows as a suite, all at once, and return its folder. Raises UserError.

    With `replace`, a suite that stands there gives way, but never a folder that is none or that holds the tables.
    """
    if output.exists():
        if not (output / "suite.yaml").is_file():
            raise UserError("exists and is no suite", where=output, fix="give another folder with --output")
        if not replace:
            raise UserError("exists", where=output, fix="give --replace, or another folder with --output")
        inside = [path for one in inferred for path in one.files if path.resolve().is_relative_to(output.resolve())]
        if inside:
            raise UserError(f"holds the table {inside[0]}", where=output, fix="give another folder with --output")
    with new_folder(output) as folder:
        for one in inferred:
            place = folder / one.task.name
            place.mkdir()
            _write_yaml(place / "task.yaml", one.task.model_dump(mode="json", exclude_unset=True))
            for split, rows in one.rows.items():
                lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
                (place / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
        description = "Inferred from plain tables; the clusters are a guess."
        tasks = [one.task.name for one in inferred]
        _write_yaml(folder / "suite.yaml", {"name": output.resolve().name, "description": description, "tasks": tasks})
    return output


def _write_yaml(path: Path, value: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), encoding="utf-8", newline="\n")


def _by_task(flag: str, asked: Sequence[str], columns: Mapping[str, Set[str]]) -> dict[str, list[str]]:
    """The columns that are asked for, by task: those for the task alone, else those for all. Raises UserError."""
    own: dict[str, list[str]] = defaultdict(list)
    shared: dict[str, list[str]] = defaultdict(list)
    for one in dict.fromkeys(asked):
        task, _, column = one.partition(":")
        if task in columns:
            if column not in columns[task]:
                raise unknown("column", column, columns[task], where=f"{flag} {one}")
            own[task].append(column)
            continue
        having = [name for name in columns if one in columns[name]]
        if not having:
            raise unknown("column", one, set[str]().union(*columns.values()), where=f"{flag} {one}")
        for name in having:
            shared[name].append(one)
    return {name: own[name] or shared[name] for name in columns}
