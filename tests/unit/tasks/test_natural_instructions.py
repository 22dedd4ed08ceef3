"""Super-NaturalInstructions: what its task files become, and every way in which one can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from multigraft.errors import UserError
from multigraft.tasks.inspect import inspect_task
from multigraft.tasks.natural_instructions import LEAST_ROWS
from multigraft.tasks.outputs import Choice
from multigraft.tasks.suite import load_suite
from multigraft.tasks.task import Task

TEXTS = [{"id": "1", "input": "a b", "output": ["b a", "B A"]}, {"id": "2", "input": "c d", "output": ["d c"]}]
LABELS = [{"id": str(n), "input": f"row {n}", "output": "bad" if n % 2 else ["good"]} for n in range(2 * LEAST_ROWS)]


def write(path: Path, instances: list[Any], **changes: Any) -> Path:
    task = {
        "Definition": ["Turn the words\naround."],
        "Categories": ["Word Games"],
        "Source": ["our corpus"],
        "URL": ["https://example.org"],
        "Instance License": ["CC0"],
        "Positive Examples": [{"input": "x y", "output": "y x", "explanation": "turned"}],
        "Instances": instances,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(task | changes), encoding="utf-8")
    return path.parent


def only(folder: Path) -> Task:
    (task,) = load_suite(folder).tasks.values()
    return task


def test_a_folder_of_splits_is_a_task(tmp_path: Path) -> None:
    write(tmp_path / "task1_turn" / "dev.json", TEXTS[:1])
    write(tmp_path / "task1_turn" / "train.json", TEXTS)
    task = only(tmp_path)
    assert (task.name, task.clusters, task.sources) == ("task1_turn", ("Word Games",), ("our corpus",))
    assert task.description == "Turn the words around."
    assert (task.licence, task.origin) == ("CC0", "Super-NaturalInstructions; https://example.org")
    assert (task.output.kind, task.metric, task.split_names()) == ("text", "rougeL", ("train", "validation"))
    first, second = task.examples("train")
    assert (first.inputs, first.target, first.references) == (("a b",), "b a", ("b a", "B A"))
    assert (second.target, second.references) == ("d c", ())
    assert only(tmp_path / "task1_turn").name == "task1_turn"


def test_tasks_in_one_file_each_are_read(tmp_path: Path) -> None:
    write(tmp_path / "task2_b.json", TEXTS)
    write(tmp_path / "task1_a.json", LABELS, Categories="Judging")
    suite = load_suite(tmp_path)
    assert suite.clusters == {"Judging": ("task1_a",), "Word Games": ("task2_b",)}
    assert suite.tasks["task1_a"].split_names() == ("train",)


def test_few_answers_given_often_are_labels(tmp_path: Path) -> None:
    write(tmp_path / "t" / "train.json", LABELS[:-1])
    write(tmp_path / "t" / "dev.json", LABELS[-1:])
    task = only(tmp_path)
    assert isinstance(task.output, Choice)
    assert (task.output.choices, task.metric) == (("bad", "good"), "accuracy")
    assert [example.target for example in task.examples("train")][:3] == [1, 0, 1]


@pytest.mark.parametrize("rows", [LABELS[:-2], [*LABELS, {"id": "x", "input": "x", "output": ["good", "bad"]}]])
def test_rare_or_several_answers_are_texts(rows: list[Any], tmp_path: Path) -> None:
    write(tmp_path / "t" / "train.json", rows)
    assert only(tmp_path).output.kind == "text"


BAD_FILES: list[tuple[dict[str, Any], str]] = [
    ({"Definitions": "x"}, "unknown key 'definitions'; did you mean 'definition'?"),
    ({"Definition": []}, "'definition'"),
    ({"definition": "x"}, "key 'definition' is given twice"),
    ({"Instances": {}}, "'instances'"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_FILES)
def test_a_bad_file_is_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_suite(write(tmp_path / "t" / "train.json", TEXTS, **changes))
    assert str(caught.value).startswith(str(tmp_path / "t" / "train.json"))
    assert message in str(caught.value)


def test_splits_of_one_task_have_one_definition(tmp_path: Path) -> None:
    write(tmp_path / "t" / "train.json", TEXTS)
    write(tmp_path / "t" / "dev.json", TEXTS, Definition="Something else.")
    with pytest.raises(UserError, match=r"dev\.json: another Definition than in the file beside it"):
        load_suite(tmp_path)


BAD_ROWS: list[tuple[Any, str]] = [
    (None, "expected an object in row 2, got NoneType"),
    ({"id": "1", "input": "x"}, "field 'output' is missing"),
    ({"id": "1", "input": "x", "output": []}, "field 'output' is an empty list"),
    ({"id": "1", "input": "x", "output": [" "]}, "field 'output' is empty"),
    ({"id": "1", "input": "x", "output": 3}, "must be text"),
    ({"id": "1", "input": "", "output": "x"}, "empty row"),
    ({"id": "1", "inputs": "x", "output": "x"}, "unknown key 'inputs'; did you mean 'input'?"),
]


@pytest.mark.parametrize(("row", "message"), BAD_ROWS)
def test_a_bad_instance_is_one_line_with_its_number(row: Any, message: str, tmp_path: Path) -> None:
    write(tmp_path / "t" / "train.json", [TEXTS[0], row, TEXTS[1]])
    task = only(tmp_path)
    with pytest.raises(UserError) as caught:
        task.examples("train")
    assert str(caught.value).startswith(f"{tmp_path}/t/train.json:2: ")
    assert message in str(caught.value)
    assert inspect_task(task).splits[0].rows == 2


def test_every_task_of_the_local_folder_is_read(data_folder: Path) -> None:
    folder = data_folder / "natural_instructions"
    suite = load_suite(folder)
    assert set(suite.tasks) == {path.parent.name for path in folder.glob("*/*.json")}
    assert suite.tasks["task363_sst2_polarity_classification"].output.kind == "choice"
    assert suite.tasks["task591_sciq_answer_generation"].output.kind == "text"
    reports = [inspect_task(task) for task in suite.tasks.values()]
    assert sum(report.bad_rows for report in reports) == 0
    rows = [len(json.loads(path.read_text("utf-8"))["Instances"]) for path in folder.glob("*/*.json")]
    assert sum(split.rows for report in reports for split in report.splits) == sum(rows)
