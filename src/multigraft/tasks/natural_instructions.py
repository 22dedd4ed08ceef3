"""Tasks of Super-NaturalInstructions: `<task>/train.json`, `dev.json`, `test.json`, or one `task<number>_<name>.json`.

Wang et al. 2022, "Super-NaturalInstructions", arXiv 2204.07705; the keys are those of its task files.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from multigraft.errors import UserError
from multigraft.settings import Record, build
from multigraft.tasks.readers.json import Json, read_json
from multigraft.tasks.task import Task

SPLITS = {"train.json": "train", "dev.json": "validation", "validation.json": "validation", "test.json": "test"}
ONE_FILE = "task[0-9]*.json"  # as published: all rows in one file, undivided
MOST_OPTIONS = 20
LEAST_ROWS = 10  # per option, on average, for answers to be the labels of a classification

Texts = Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class Exemplar(Record):
    """A demonstration, good or bad. Exemplars of ours are drawn from the training split."""

    input: str
    output: Any
    explanation: str = ""


class File(Record):
    """The contents of a task file; its keys in lower case, with `_` for a blank."""

    definition: Annotated[Texts, Field(min_length=1)]  # the instruction
    categories: Texts
    instances: tuple[Any, ...]
    source: Texts = ()
    url: Texts = ()
    contributors: Texts = ()
    reasoning: Texts = ()
    domains: Texts = ()
    input_language: Texts = ()
    output_language: Texts = ()
    instruction_language: Texts = ()
    positive_examples: tuple[Exemplar, ...] = ()
    negative_examples: tuple[Exemplar, ...] = ()
    instance_license: Texts = ()


def task_files(folder: Path) -> dict[str, dict[str, Path]]:
    """Files of the tasks in `folder`, by task and split: of the folder itself, its sub-folders, or single files."""
    for places in ([folder], sorted(path for path in folder.iterdir() if path.is_dir())):
        found = {p.name: {split: p / f for f, split in SPLITS.items() if (p / f).is_file()} for p in places}
        found = {name: files for name, files in found.items() if files}
        if found:
            return found
    return {path.stem: {"train": path} for path in sorted(folder.glob(ONE_FILE))}


def read_natural_instructions(folder: Path) -> list[Task]:
    """The tasks in `folder`. Raises UserError."""
    return [_task(name, files) for name, files in task_files(folder.resolve()).items()]


def _task(name: str, paths: dict[str, Path]) -> Task:
    files = {path: _file(path) for path in paths.values()}
    first, *others = files
    for path in others:
        if files[path].definition != files[first].definition:
            raise UserError("another Definition than in the file beside it", where=path, fix=f"compare {first.name}")
    file = files[first]
    options = _options(paths)
    data = {
        "name": name.replace(" ", "_"),
        "description": " ".join(" ".join(file.definition).split()),
        "cluster": list(file.categories),
        "inputs": ["input"],
        "output": {"kind": "choice", "field": "output", "choices": options} if options else
                  {"kind": "text", "field": "output"},
        "metric": "accuracy" if options else "rougeL",
        "licence": ", ".join(file.instance_license),
        "origin": "; ".join(["Super-NaturalInstructions", *file.url]),
        "citation": "Wang et al. 2022, Super-NaturalInstructions",
        "sources": list(file.source),
        "splits": {split: path.name for split, path in paths.items()},
    }  # fmt: skip
    return build(Task, data, first).at(first.parent)


def _file(path: Path) -> File:
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError("expected an object with Definition and Instances", where=path)
    keys = {key: key.lower().replace(" ", "_") for key in value}
    twice = [key for key, count in Counter(keys.values()).items() if count > 1]
    if twice:
        raise UserError(f"key {twice[0]!r} is given twice", where=path)
    return build(File, {keys[key]: entry for key, entry in value.items()}, path)


def _options(paths: dict[str, Path]) -> list[str]:
    """The labels, sorted, when all rows together have few distinct answers, each one only; none otherwise."""
    answers: Counter[str] = Counter()
    for path in paths.values():
        for _, row in Json().rows(path, report=lambda fault: None):  # faults are reported when rows are used
            output = row.get("output")
            texts = output if isinstance(output, list) else [output]
            if len(texts) > 1:
                return []
            answers.update(text for text in texts if isinstance(text, str) and text.strip())
    few = 2 <= len(answers) <= MOST_OPTIONS and answers.total() >= LEAST_ROWS * len(answers)
    return sorted(answers) if few else []
