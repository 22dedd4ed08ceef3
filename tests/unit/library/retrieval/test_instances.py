"""Instances from a task, a file of rows and plain texts; what is wrong with them is said with file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from multigraft.errors import UserError
from multigraft.library.retrieval.instances import of_texts, read_instances
from multigraft.library.retrieval.text_formats import KeyText, key_text
from multigraft.tasks.task import load_task

TEXT = KeyText()


def test_a_task_gives_rows_that_keys_are_not_made_of(tiny_suite: str) -> None:
    folder = Path(tiny_suite) / "animal"
    found = read_instances(folder, 5)
    assert found.examples == load_task(folder).examples("validation", 5)
    assert found.texts(key_text("labels")) == ["none, cat, dog"] * 5
    assert found.texts(TEXT)[0] == "\n".join(found.examples[0].inputs)
    assert read_instances(folder, 99, split="train").examples == load_task(folder).examples("train", 99)
    assert read_instances(folder, 5, split="test").examples != found.examples


def test_a_task_of_a_suite_with_an_index(tmp_path: Path) -> None:
    entry = {"cluster": "c", "inputs": ["text"], "output": {"kind": "text", "field": "label"},
             "metric": "exact_match", "rows": {"test": 1}}  # fmt: skip
    (tmp_path / "index.json").write_text(json.dumps({"one": entry, "two": entry}))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "test.jsonl").write_text(json.dumps({"text": f"in {name}", "label": "x"}))
    assert read_instances(tmp_path / "two", 5).texts(TEXT) == ["in two"]
    with pytest.raises(UserError, match="holds 2 tasks; give the folder of one of them"):
        read_instances(tmp_path, 5)


@pytest.mark.parametrize(
    ("name", "content", "fields", "expected"),
    [
        ("a.jsonl", '{"text": "x", "label": "l"}\n{"label": "m", "text": "y"}', (), ["x", "y"]),
        ("a.jsonl", '{"n": 1, "p": "x", "q": "y"}', (), ["x\ny"]),
        ("a.csv", "p,q,label\nx,y,l\n", ("q", "p"), ["y\nx"]),
        ("a.tsv", "text\tlabel\nx\tl\n", (), ["x"]),
        ("a.json", '[{"text": "x"}]', (), ["x"]),
    ],
)
def test_rows_of_a_file(tmp_path: Path, name: str, content: str, fields: tuple[str, ...], expected: list[str]) -> None:
    (tmp_path / name).write_text(content)
    assert read_instances(tmp_path / name, 5, fields).texts(TEXT) == expected


def test_no_more_rows_than_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": str(i)}) + "\n" for i in range(50)))
    few, more = (read_instances(path, limit).texts(TEXT) for limit in (3, 9))
    assert len(few) == 3
    assert set(few) < set(more)
    assert more != [str(i) for i in range(9)]  # a sample, not the first
    assert len(read_instances(path, 99).examples) == 50


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "x"}\n{"txt": "y"}', r"a\.jsonl:2: field 'text' is missing; did you mean 'txt'"),
        ('{"text": 3}', r"a\.jsonl:1: field 'text' must be text, got 3"),
        ('{"text": " "}', r"a\.jsonl:1: no text in it"),
        ('{"n": 3}', r"a\.jsonl:1: no text in it"),
        ("{", r"a\.jsonl:1: not valid JSON"),
        ("", r"a\.jsonl: no rows"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=said):
        read_instances(path, 5)


def test_what_cannot_be_asked_is_one_line(tmp_path: Path, tiny_suite: str) -> None:
    task = Path(tiny_suite) / "animal"
    for said, arguments in (
        ("0 queries", (task, 0)),
        ("a file has no splits", (tmp_path / "a.csv", 5, (), "test")),
        ("a task names its fields itself", (task, 5, ("text",))),
        ("unknown split 'tests'", (task, 5, (), "tests")),
        ("unknown format 'txt'", (tmp_path / "a.txt", 5)),
        ("cannot be read", (tmp_path / "a.jsonl", 5)),
        ("not a suite", (tmp_path, 5)),
        ("holds 5 tasks", (Path(tiny_suite), 5)),
    ):
        with pytest.raises(UserError, match=said):
            read_instances(*arguments)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="a text has no words"):
        of_texts(["x", "\n"])
    assert of_texts(["x", "y"]).texts(key_text("instance", field_names=True)) == ["text: x", "text: y"]
