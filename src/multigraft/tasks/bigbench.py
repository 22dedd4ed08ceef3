"""Tasks of BIG-bench: `<task>/task.json`, or `<task>/<sub-task>/task.json`, each with its examples inside.

Srivastava et al. 2022, "Beyond the Imitation Game", arXiv 2206.04615; the keys are those of its JSON schema.
The examples are a test split: the benchmark asks that nobody trains on them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from multigraft.errors import UserError
from multigraft.settings import Record, build
from multigraft.tasks.readers.json import Json, read_json
from multigraft.tasks.task import Metric, Task

FILE = "task.json"
DEPTH = ("", "*/", "*/*/")  # a task's folder below that of the suite: itself, a task, a sub-task
METRICS: dict[str, Metric] = {  # theirs: ours; the first one asks for a choice, the others for a text
    "multiple_choice_grade": "accuracy",
    "exact_str_match": "exact_match",
    "rouge": "rougeL",
    "bleu": "bleu",
}
# Keywords that say how a task is asked, not what it is about: no clusters.
FORMATS = {"multiple choice", "free response", "numerical response", "json", "programmatic",
           "zero-shot", "one-shot", "few-shot", "many-shot"}  # fmt: skip


class File(Record):
    """The contents of a `task.json`. The reader puts the prefixes with words around each input."""

    name: str
    description: str
    keywords: tuple[str, ...] = ()
    canary: str = ""
    preferred_score: str = ""
    metrics: tuple[str, ...] = ()
    examples: tuple[Any, ...] | None = None  # None: only a group of sub-tasks
    task_prefix: str = ""  # the instruction
    example_input_prefix: str = ""
    example_output_prefix: str = ""
    output_regex: str | None = None
    stop_string: str | None = None
    # How the benchmark's own prompts list options and exemplars; here that is the part of templates.
    append_choices_to_input: bool = True
    choice_prefix: str = ""
    few_shot_example_separator: str = ""


def task_files(folder: Path) -> list[Path]:
    """The files of the tasks and groups in `folder`, groups before their sub-tasks."""
    return sorted((path for depth in DEPTH for path in folder.glob(depth + FILE)), key=lambda path: path.parent.parts)


def read_bigbench(folder: Path) -> list[Task]:
    """The tasks in `folder`; a sub-task is called `<task>.<sub-task>`. Raises UserError.

    A file without examples describes a group: its sub-tasks are tasks, and those without keywords have the group's.
    """
    paths = task_files(folder)
    files = {path.parent: build(File, read_json(path), path) for path in paths}
    root = folder if paths[0].parent != folder else folder.resolve().parent
    tasks = []
    for place, file in files.items():
        if file.examples:
            name = ".".join(place.resolve().relative_to(root.resolve()).parts)
            above = files.get(place.parent)
            tasks.append(_task(name, file, file.keywords or (above.keywords if above else ()), place / FILE))
        elif not any(other.parent == place for other in files):
            raise UserError("no examples, and no sub-tasks beside it", where=place / FILE, fix="add 'examples'")
    return tasks


def _task(name: str, file: File, keywords: tuple[str, ...], path: Path) -> Task:
    metric = next((name for name in (file.preferred_score, *file.metrics) if name in METRICS), None)
    if metric is None:
        asked = ", ".join(dict.fromkeys(filter(None, (file.preferred_score, *file.metrics)))) or "none"
        raise UserError(f"no metric that can be computed; it asks for {asked}", where=path, fix=f"use {[*METRICS]}")
    choice = METRICS[metric] == "accuracy"
    # A text is scored as it stands; what the benchmark would cut from it first is not dropped in silence.
    cuts = {"output_regex": file.output_regex, "stop_string": file.stop_string}
    notes = [f"{key} {value!r} of the benchmark is not applied" for key, value in cuts.items() if value and not choice]
    data = {
        "name": name.replace(" ", "_"),
        "description": " ".join(f"{file.description} {file.task_prefix}".split()),
        "cluster": [word for word in keywords if word not in FORMATS] or ["bigbench"],
        "inputs": ["input"],
        "output": _choice(path) if choice else {"kind": "text", "field": "target"},
        "metric": METRICS[metric],
        "licence": "Apache-2.0",
        "origin": f"BIG-bench: {file.name}",
        "citation": "Srivastava et al. 2022, Beyond the Imitation Game",
        "note": "; ".join(notes),
        "splits": {"test": FILE},
    }
    return build(Task, data, path).at(path.parent)


def _choice(path: Path) -> dict[str, Any]:
    """A choice of fixed options when all examples have the same, of the options per row otherwise."""
    rows = [row for _, row in Json().rows(path, report=lambda fault: None)]  # faults are reported when rows are used
    options = [row["target_scores"] for row in rows if "target_scores" in row]
    fixed = len(options) > 1 and all(set(options[0]) == set(each) for each in options)
    return {"kind": "choice", "field": "answer"} | (
        {"choices": sorted(options[0])} if fixed else {"choices_field": "target_scores"}
    )
