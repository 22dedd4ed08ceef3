"""Suites: how they are found and read, and every way in which one can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from multigraft.errors import UserError
from multigraft.tasks.suite import load_suite

ROOT = Path(__file__).parents[3]
GLUE8 = ROOT / "recipes" / "glue8"


def write_task(folder: Path, name: str, cluster: str, **changes: Any) -> None:
    task = {
        "name": name,
        "cluster": cluster,
        "inputs": ["text"],
        "output": {"kind": "choice", "field": "label", "choices": ["bad", "good"]},
        "metric": "accuracy",
        "splits": {"train": "train.jsonl"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.yaml").write_text(yaml.safe_dump(task | changes, sort_keys=False), encoding="utf-8")
    (folder / "train.jsonl").write_text('{"text": "fine", "label": "good"}\n', encoding="utf-8")


def write_suite(folder: Path, **changes: Any) -> Path:
    for name, cluster in (("one", "first"), ("two", "second"), ("three", "second")):
        write_task(folder / name, name, cluster)
    suite = {"name": "small", "tasks": ["two", "one", "three"], "exclusions": [["first", "second"]]} | changes
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite, sort_keys=False), encoding="utf-8")
    return folder


def test_a_suite_keeps_the_order_of_its_file(tmp_path: Path) -> None:
    suite = load_suite(write_suite(tmp_path))
    assert list(suite.tasks) == ["two", "one", "three"]
    assert suite.clusters == {"second": ("two", "three"), "first": ("one",)}
    assert suite.exclusions == (("first", "second"),)
    assert suite.tasks["two"].examples("train")[0].inputs == ("fine",)


def test_a_subset_keeps_the_exclusions_that_still_apply(tmp_path: Path) -> None:
    suite = load_suite(write_suite(tmp_path))
    assert suite.subset(["three", "two"]).exclusions == ()
    assert list(suite.subset(["three", "one"]).tasks) == ["three", "one"]
    assert suite.subset(["three", "one"]).exclusions == (("first", "second"),)
    with pytest.raises(UserError, match="unknown task 'tow'; did you mean 'two'"):
        suite.subset(["tow"])


def test_a_suite_may_group_its_tasks_anew(tmp_path: Path) -> None:
    suite = load_suite(write_suite(tmp_path, clusters={"second": ["one", "two"], "first": ["three", "one"]}))
    assert suite.clusters == {"second": ("two", "one"), "first": ("one", "three")}
    assert suite.tasks["one"].cluster == ("second", "first")
    assert suite.tasks["two"].cluster == "second"


def test_a_suite_is_found_by_folder_file_task_or_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_suite(tmp_path / "recipes" / "mine")
    monkeypatch.chdir(tmp_path)
    assert load_suite("recipes/mine").name == load_suite("recipes/mine/suite.yaml").name == load_suite("mine").name
    assert list(load_suite("recipes/mine/one").tasks) == ["one"]


def test_an_index_is_read_without_its_options_among_the_inputs(tmp_path: Path) -> None:
    entry = {
        "cluster": "qa",
        "inputs": ["question", "options"],
        "output": {"kind": "choice", "field": "answer", "choices_field": "options"},
        "metric": "accuracy",
        "rows": {"test": 1},
        "origin": "us",
        "licence": "CC0",
    }
    (tmp_path / "index.json").write_text(json.dumps({"quiz": entry}), encoding="utf-8")
    (tmp_path / "quiz").mkdir()
    (tmp_path / "quiz" / "test.jsonl").write_text('{"question": "q", "options": ["a", "b"], "answer": "b"}\n', "utf-8")
    task = load_suite(tmp_path).tasks["quiz"]
    assert (task.inputs, task.licence, task.split_names()) == (("question",), "CC0", ("test",))
    assert task.examples("test")[0].target == 1


def damage(file: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / file).read_text(encoding="utf-8")
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


BAD_SUITES: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: write_suite(f, taks=["one"]), "suite.yaml: unknown key 'taks'; did you mean 'tasks'?"),
    (lambda f: write_suite(f, tasks=[]), "suite.yaml: 'tasks'"),
    (lambda f: write_suite(f, tasks=["one", "four"]), "four/task.yaml: cannot be read: No such file"),
    (lambda f: write_suite(f, tasks=["one", "two", "one"]), "suite.yaml: two tasks are called 'one'"),
    (lambda f: write_task(f / "three", "one", "second"), "suite.yaml: two tasks are called 'one'"),
    (lambda f: write_suite(f, exclusions=[["first", "secnd"]]), "exclusions: unknown cluster 'secnd'; did you mean"),
    (lambda f: write_suite(f, exclusions=[["first", "first"]]), "cluster 'first' excludes itself"),
    (lambda f: write_suite(f, clusters={"c": ["one", "tow"]}), "clusters: unknown task 'tow'; did you mean 'two'?"),
    (lambda f: write_suite(f, clusters={"c": ["one"]}), "clusters: task 'two' stands in no cluster"),
    (lambda f: write_task(f / "one", "one", "first", metrc="f1"), "one/task.yaml: unknown key 'metrc'; did you mean"),
    (
        damage("one/task.yaml", "name: one", "name: one\nname: one"),
        "task.yaml:2: not valid YAML: key 'name' is given twice",
    ),
    (damage("one/task.yaml", "cluster: first", "cluster: [first"), "one/task.yaml:"),
    (lambda f: (f / "suite.yaml").write_text("name: é", encoding="utf-16"), "suite.yaml:1: not UTF-8 text"),
    (lambda f: (f / "suite.yaml").unlink(), "not a suite; it needs one of suite.yaml, index.json, task.yaml"),
]


@pytest.mark.parametrize(("break_it", "message"), BAD_SUITES)
def test_a_bad_suite_is_one_line(break_it: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    write_suite(tmp_path)
    break_it(tmp_path)
    with pytest.raises(UserError) as caught:
        load_suite(tmp_path)
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": {}, "a": {}}', "index.json: key 'a' is given twice"),
        ('{\n"a": {,\n}}', "index.json:2: not valid JSON"),
        ("[]", "index.json: expected an object"),
        ('{"a": []}', "index.json: a: expected named values"),
        ('{"a": {"clustr": "x"}}', "index.json: a: unknown key 'clustr'; did you mean 'cluster'?"),
    ],
)
def test_a_bad_index_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_suite(tmp_path)
    assert message in str(caught.value)


def test_a_suite_that_is_not_there_says_what_would_be_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such suite; give a folder with one of suite\.yaml.*starter"):
        load_suite(tmp_path / "nothing")


def test_glue8_describes_the_eight_tasks() -> None:
    suite = load_suite(GLUE8)
    assert list(suite.tasks) == ["mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte"]
    for task in suite.tasks.values():
        assert task.source is not None
        assert task.source.config == task.name
        assert {"train", "validation"} <= set(task.source.splits)


def test_glue8_has_the_same_fields_as_its_local_files(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGRAFT_DATA", str(data_folder))
    index = load_suite(data_folder / "tasks")
    for task in load_suite(GLUE8).tasks.values():
        local = index.tasks[task.name]
        assert (task.inputs, task.output, task.metric) == (local.inputs, local.output, local.metric)
        assert task.cluster == local.cluster
        assert task.split_names() == local.split_names()
        assert task.examples("validation", 20) == local.examples("validation", 20)
