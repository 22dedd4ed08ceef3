"""BIG-bench: what its task files become, and every way in which one can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from multigraft.errors import UserError
from multigraft.tasks.inspect import inspect_task
from multigraft.tasks.outputs import Choice, Text
from multigraft.tasks.suite import load_suite
from multigraft.tasks.task import Task

SCORED = [
    {"input": "2 + 2?", "target_scores": {"four": 1, "five": 0, "six": 0}},
    {"input": "Is it?", "target_scores": {"maybe": 0.2, "surely": 0.9}},
]


def write(folder: Path, rows: list[Any] | None = None, **changes: Any) -> Path:
    task: dict[str, Any] = {
        "canary": "do not train on this",
        "name": folder.name,
        "description": "A made-up task",
        "keywords": ["sums", "multiple choice", "zero-shot", "everyday life"],
    }
    if rows is not None:
        task |= {"examples": rows, "preferred_score": "multiple_choice_grade", "metrics": ["multiple_choice_grade"]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.json").write_text(json.dumps(task | changes), encoding="utf-8")
    return folder


def only(folder: Path) -> Task:
    (task,) = load_suite(folder).tasks.values()
    return task


def test_scored_options_are_a_choice_of_the_best(tmp_path: Path) -> None:
    task = only(write(tmp_path / "sums", SCORED))
    assert (task.name, task.clusters, task.metric) == ("sums", ("sums", "everyday life"), "accuracy")
    assert (task.licence, task.split_names()) == ("Apache-2.0", ("test",))
    assert task.origin
    first, second = task.examples("test")
    assert first.choices[int(first.target)] == "four"
    assert sorted(first.choices) == ["five", "four", "six"]
    assert second.choices[int(second.target)] == "surely"
    assert isinstance(task.output, Choice)
    assert task.output.choices is None


def test_the_place_of_the_right_option_tells_nothing(tmp_path: Path) -> None:
    rows = [{"input": f"row {n}", "target_scores": {f"right {n}": 1, f"wrong {n}": 0}} for n in range(200)]
    targets = [int(example.target) for example in only(write(tmp_path / "a", rows)).examples("test")]
    assert 70 < sum(targets) < 130
    assert targets == [int(example.target) for example in only(write(tmp_path / "b", rows)).examples("test")]


def test_the_same_options_everywhere_are_fixed(tmp_path: Path) -> None:
    rows = [{"input": "a", "target_scores": {"yes": 1, "no": 0}}, {"input": "b", "target_scores": {"no": 1, "yes": 0}}]
    task = only(write(tmp_path / "facts", rows))
    assert isinstance(task.output, Choice)
    assert task.output.choices == ("no", "yes")
    assert [example.target for example in task.examples("test")] == [1, 0]


def test_of_equally_good_options_the_others_are_kept_and_reported(tmp_path: Path) -> None:
    rows = [{"input": "a", "target_scores": {"up": 1, "rising": 1, "down": 0}}, *SCORED]
    task = only(write(tmp_path / "words", rows))
    example = task.examples("test")[0]
    assert example.references == ("up", "rising")
    assert example.choices[int(example.target)] == "up"
    (warning,) = [line for line in inspect_task(task).warnings() if "several right options" in line]
    assert warning.endswith(": 1")


@pytest.mark.parametrize(
    ("theirs", "ours"), [("exact_str_match", "exact_match"), ("rouge", "rougeL"), ("bleu", "bleu")]
)
def test_targets_are_texts(theirs: str, ours: str, tmp_path: Path) -> None:
    rows = [{"input": "2 + 2?", "target": ["4", "four"]}, {"input": "3 + 3?", "target": "6"}]
    task = only(write(tmp_path / "sums", rows, preferred_score=theirs, metrics=[theirs]))
    assert isinstance(task.output, Text)
    assert task.metric == ours
    assert [(e.target, e.references) for e in task.examples("test")] == [("4", ("4", "four")), ("6", ())]


def test_the_preferred_score_says_which_answer_counts(tmp_path: Path) -> None:
    rows = [row | {"target": "a text"} for row in SCORED]
    assert only(write(tmp_path / "one", rows)).output.kind == "choice"
    wanted = {"preferred_score": "rouge", "metrics": ["rouge", "multiple_choice_grade"]}
    assert only(write(tmp_path / "two", rows, **wanted)).output.kind == "text"
    unknown_first = {"preferred_score": "bleurt", "metrics": ["bleurt", "multiple_choice_grade"]}
    assert only(write(tmp_path / "three", rows, **unknown_first)).output.kind == "choice"


def test_no_words_around_an_example_are_lost(tmp_path: Path) -> None:
    around = {
        "example_input_prefix": "\nSum: ",
        "example_output_prefix": "\nIt is",
        "task_prefix": "Work out\nthe sum.",
    }
    task = only(write(tmp_path / "sums", SCORED, **around))
    assert task.examples("test")[0].inputs == ("Sum: 2 + 2?\nIt is",)
    assert task.description == "A made-up task Work out the sum."


def test_what_cuts_a_text_before_it_is_scored_is_noted(tmp_path: Path) -> None:
    cuts = {"output_regex": "[0-9]+", "stop_string": "."}
    rows = [{"input": "2 + 2?", "target": "4"}]
    note = only(write(tmp_path / "a", rows, preferred_score="bleu", **cuts)).note
    assert "'[0-9]+'" in note
    assert "'.'" in note
    assert only(write(tmp_path / "b", SCORED, **cuts)).note == ""  # options are not cut


def test_sub_tasks_are_named_after_their_group(tmp_path: Path) -> None:
    write(tmp_path / "suite" / "order")
    write(tmp_path / "suite" / "order" / "three_objects", SCORED, keywords=[])
    write(tmp_path / "suite" / "order" / "five_objects", SCORED, keywords=["few-shot"])
    write(tmp_path / "suite" / "alone", SCORED)
    suite = load_suite(tmp_path / "suite")
    assert (suite.name, list(suite.tasks)) == ("suite", ["alone", "order.five_objects", "order.three_objects"])
    assert suite.tasks["order.three_objects"].clusters == ("sums", "everyday life")  # the group's
    assert suite.tasks["order.five_objects"].clusters == ("bigbench",)
    assert list(load_suite(tmp_path / "suite" / "order").tasks) == ["order.five_objects", "order.three_objects"]
    assert list(load_suite(tmp_path / "suite" / "alone" / "task.json").tasks) == ["alone"]


BAD_FILES: list[tuple[dict[str, Any], str]] = [
    ({"descripton": "x"}, "task.json: unknown key 'descripton'; did you mean 'description'?"),
    ({"examples": []}, "task.json: no examples, and no sub-tasks beside it"),
    ({"preferred_score": "bleurt", "metrics": ["bleurt"]}, "no metric that can be computed; it asks for bleurt"),
    ({"keywords": "sums"}, "task.json: 'keywords'"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_FILES)
def test_a_bad_file_is_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_suite(write(tmp_path / "sums", SCORED, **changes))
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_file_that_is_no_json_gives_its_line(tmp_path: Path) -> None:
    (write(tmp_path / "sums") / "task.json").write_text('{"name": "x",\n"examples": [,]}')
    with pytest.raises(UserError, match=r"task\.json:2: not valid JSON"):
        load_suite(tmp_path / "sums")


BAD_ROWS: list[tuple[Any, str]] = [
    ("a text", "expected an object in row 3, got str"),
    ({"input": "x"}, "needs 'target' or 'target_scores'"),
    ({"input": "x", "target_score": {}}, "unknown key 'target_score'; did you mean 'target_scores'?"),
    ({"input": "x", "target": "a"}, "field 'target_scores' is missing"),
    ({"input": ["x"], "target_scores": {"a": 1, "b": 0}}, "field 'input' must be text"),
    ({"input": " ", "target_scores": {"a": 1, "b": 0}}, "empty row"),
    ({"input": "x", "target_scores": ["a"]}, "must give a number for each option"),
    ({"input": "x", "target_scores": {"a": 1, "b": 1}}, "tells no option from another"),
    ({"input": "x", "target_scores": {"a": 1}}, "tells no option from another"),
    ({"input": "x", "target_scores": {"a": 1, " ": 0}}, "holds an empty option"),
]


@pytest.mark.parametrize(("row", "message"), BAD_ROWS)
def test_a_bad_example_is_one_line_with_its_number(row: Any, message: str, tmp_path: Path) -> None:
    task = only(write(tmp_path / "sums", [*SCORED, row, *SCORED]))
    with pytest.raises(UserError) as caught:
        task.examples("test")
    assert str(caught.value).startswith(f"{tmp_path}/sums/task.json:3: ")
    assert message in str(caught.value)
    (split,) = inspect_task(task).splits
    assert (split.rows, split.bad_rows) == (4, 1)


def test_every_task_of_the_local_folder_is_read(data_folder: Path) -> None:
    suite = load_suite(data_folder / "bigbench")
    assert {"strategyqa", "logical_deduction.five_objects", "conceptual_combinations.homonyms"} <= set(suite.tasks)
    files = [json.loads(path.read_text("utf-8")) for path in (data_folder / "bigbench").rglob("task.json")]
    assert len(suite.tasks) == sum("examples" in file for file in files)
    reports = [inspect_task(task) for task in suite.tasks.values()]
    assert sum(report.bad_rows for report in reports) == 0
    assert sum(s.rows for r in reports for s in r.splits) == sum(len(file.get("examples", [])) for file in files)
