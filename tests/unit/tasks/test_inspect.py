"""Reports on tasks: counts, balance, lengths, repetition, and all bad rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from multigraft.settings import build
from multigraft.tasks.inspect import MOST_BAD_ROWS, Lengths, Overlap, inspect_task
from multigraft.tasks.task import Task

CHOICE = {"kind": "choice", "field": "y", "choices": ["bad", "good", "fair"]}


def make(folder: Path, output: dict[str, Any], metric: str, **splits: list[Any]) -> Task:
    for split, rows in splits.items():
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / f"{split}.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    data = {"name": "t", "cluster": "c", "inputs": ["a", "b"], "output": output, "metric": metric}
    return build(Task, data | {"splits": {split: f"{split}.jsonl" for split in splits}}, "task.yaml").at(folder)


def row(a: str, b: str, y: object, **more: Any) -> dict[str, Any]:
    return {"a": a, "b": b, "y": y, **more}


def test_labels_duplicates_conflicts_and_overlaps_are_counted(tmp_path: Path) -> None:
    train = [row("One", "x", "bad"), row("one ", "X", "bad"), row("one", "x", "good"), row("two", "", "good")]
    test = [row("ONE", "x", "bad"), row("one", "x", "bad"), row("three", "x", "bad")]
    report = inspect_task(make(tmp_path, CHOICE, "accuracy", train=train, test=test))
    first, second = report.splits
    assert first.labels == {"bad": 2, "good": 2, "fair": 0}
    assert (first.rows, first.duplicates, first.conflicts, first.blank_inputs) == (4, 2, 1, 1)
    assert (second.rows, second.duplicates, second.conflicts) == (3, 1, 0)
    assert report.overlaps == (Overlap(first="train", second="test", rows=2),)
    assert report.bad_rows == 0
    assert f"{tmp_path / 'train.jsonl'}: rows with another answer than an equal row: 1" in report.warnings()
    assert "task t: rows of test that stand in train too: 2" in report.warnings()


def test_fields_do_not_run_together(tmp_path: Path) -> None:
    train = [row("one two", "three", "bad"), row("one", "two three", "bad")]
    assert inspect_task(make(tmp_path, CHOICE, "accuracy", train=train)).splits[0].duplicates == 0


def test_options_of_the_row_belong_to_its_inputs(tmp_path: Path) -> None:
    by_row = {"kind": "choice", "field": "y", "choices_field": "o"}
    train = [
        row("q", "x", "p", o=["p", "r"]),
        row("q", "x", "p", o=["r", "p"]),
        row("q", "x", "p", o=["p", "s"]),
        row("q", "z", "p", o=["p", "s", "s"]),
    ]
    split = inspect_task(make(tmp_path, by_row, "accuracy", train=train)).splits[0]
    assert (split.duplicates, split.conflicts, split.repeated_options) == (1, 0, 1)
    assert split.labels == {"option 1": 3, "option 2": 1}


def test_numbers_are_summed_up(tmp_path: Path) -> None:
    number = {"kind": "number", "field": "y", "range": [0, 5]}
    train = [row("a", "b", 1), row("a", "c", 2.0), row("a", "d", 3)]
    numbers = inspect_task(make(tmp_path, number, "pearson", train=train)).splits[0].numbers
    assert numbers is not None
    assert (numbers.lowest, numbers.mean, numbers.highest) == (1, 2, 3)
    assert numbers.deviation == pytest.approx((2 / 3) ** 0.5)


def test_texts_may_have_several_answers(tmp_path: Path) -> None:
    train = [row("a", "b", "one way"), row("a", "b", "another")]
    split = inspect_task(make(tmp_path, {"kind": "text", "field": "y"}, "bleu", train=train)).splits[0]
    assert (split.duplicates, split.conflicts, split.labels, split.numbers) == (1, 0, None, None)


def test_lengths_come_from_the_given_counter(tmp_path: Path) -> None:
    train = [row("w " * n, "x", "bad") for n in range(1, 101)]
    task = make(tmp_path, CHOICE, "accuracy", train=train)
    split = inspect_task(task, lambda example: len(example.inputs[0].split())).splits[0]
    assert split.tokens == Lengths(median=50, percentile_95=96, longest=100)
    assert inspect_task(task).splits[0].tokens is None


def test_every_bad_row_is_listed_with_file_and_line(tmp_path: Path) -> None:
    train = [row("a", "b", "bad"), "{", row("a", "c", "ugly"), "", row("", " ", "bad"), row("a", "d", "good")]
    split = inspect_task(make(tmp_path, CHOICE, "accuracy", train=train)).splits[0]
    path = tmp_path / "train.jsonl"
    assert (split.rows, split.bad_rows) == (2, 4)
    assert [line.split(": ")[0] for line in split.bad] == [f"{path}:{n}" for n in (2, 3, 4, 5)]


def test_very_many_bad_rows_are_counted_and_only_some_listed(tmp_path: Path) -> None:
    split = inspect_task(make(tmp_path, CHOICE, "accuracy", train=["{"] * (MOST_BAD_ROWS + 5))).splits[0]
    assert (split.bad_rows, len(split.bad)) == (MOST_BAD_ROWS + 5, MOST_BAD_ROWS)


def test_a_missing_and_an_empty_file_are_faults_of_their_split_only(tmp_path: Path) -> None:
    task = make(tmp_path, CHOICE, "accuracy", train=[row("a", "b", "bad")], validation=[], test=[])
    (tmp_path / "test.jsonl").unlink()
    train, validation, test = inspect_task(task).splits
    assert (train.rows, train.bad_rows) == (1, 0)
    assert validation.bad == (f"{tmp_path / 'validation.jsonl'}: no rows",)
    assert test.bad[0].startswith(f"{tmp_path / 'test.jsonl'}: no such file")
