"""Tasks: what a description must say, where the rows come from, and which rows are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from multigraft.errors import UserError
from multigraft.settings import build
from multigraft.tasks.readers import hub
from multigraft.tasks.task import Example, Task, load_task

BASE: dict[str, Any] = {
    "name": "mood",
    "cluster": "sentiment",
    "inputs": ["text", "reply"],
    "output": {"kind": "choice", "field": "label", "choices": ["bad", "good"]},
    "metric": "accuracy",
    "splits": {"train": "train.jsonl", "test": "test.jsonl"},
}
SOURCE = {"hub": "someone/set", "splits": {"train": "training", "validation": "validation"}}


def make(folder: Path, rows: list[dict[str, Any]] | None = None, **changes: Any) -> Task:
    if rows is not None:
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return build(Task, BASE | changes, "task.yaml").at(folder)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"text": f"text {n}", "reply": f"reply {n}", "label": n % 2} for n in range(count)]


def test_examples_have_the_fields_in_the_tasks_order(tmp_path: Path) -> None:
    task = make(tmp_path, [{"label": "good", "reply": "b", "text": "a", "id": 7}])
    assert task.examples("train") == [Example(("a", "b"), ("bad", "good"), 1)]


def test_a_limit_takes_the_same_rows_every_time_and_a_smaller_one_is_part_of_a_larger(tmp_path: Path) -> None:
    task = make(tmp_path, rows(50))
    everything = task.examples("train")
    samples = {limit: task.examples("train", limit) for limit in (5, 20, 50, 99)}
    assert [len(sample) for sample in samples.values()] == [5, 20, 50, 50]
    assert set(samples[5]) < set(samples[20])
    assert samples[20] == task.examples("train", 20)
    assert samples[20] == sorted(samples[20], key=everything.index)
    assert samples[20] != everything[:20]
    with pytest.raises(UserError, match="leaves nothing"):
        task.examples("train", 0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a", "label": 0}, "field 'reply' is missing"),
        ({"text": 3, "reply": "b", "label": 0}, "field 'text' must be text, got 3"),
        ({"text": " ", "reply": "", "label": 0}, "empty row: no text in 'text', 'reply'"),
        ({}, "field 'text' is missing"),
        ({"text": "a", "reply": "b", "label": "goood"}, "label 'goood' is not among the options"),
        ({"text": "a", "reply": "b", "label": 2}, "label 2 is outside the 2 options"),
    ],
)
def test_a_bad_row_is_refused_with_file_and_line(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    task = make(tmp_path, [*rows(2), row])
    with pytest.raises(UserError) as caught:
        task.examples("train")
    assert str(caught.value).startswith(f"{tmp_path / 'train.jsonl'}:3: {message}")


def test_a_bad_row_outside_the_sample_is_refused_too(tmp_path: Path) -> None:
    task = make(tmp_path, [*rows(20), {"text": "a"}])
    with pytest.raises(UserError, match=r"train\.jsonl:21"):
        task.examples("train", 1)


def test_numbers_and_lists_are_read_from_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,reply,score\nx,y,2.5\nx,y,high\n", encoding="utf-8")
    number = {"kind": "number", "field": "score", "range": [0, 5]}
    task = make(tmp_path, output=number, metric="pearson", splits={"train": "a.csv"})
    with pytest.raises(UserError, match=r"a\.csv:3: field 'score' must be a number, got 'high'"):
        task.examples("train")
    (tmp_path / "b.csv").write_text('text,reply,options,label\nx,y,"[""p"", ""q""]",q\nx,y,p|q,q\n', encoding="utf-8")
    by_row = {"kind": "choice", "field": "label", "choices_field": "options"}
    task = make(tmp_path, output=by_row, splits={"train": "b.csv"})
    with pytest.raises(UserError, match=r"b\.csv:3: field 'options' must be a JSON list"):
        task.examples("train")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.jsonl: no rows"):
        make(tmp_path, []).examples("train")


def test_an_unknown_split_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown split 'trian'; did you mean 'train'"):
        make(tmp_path, rows(1)).examples("trian")


def test_a_missing_file_without_a_source_says_both(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        make(tmp_path).examples("train")
    assert str(caught.value).startswith(
        f"{tmp_path / 'train.jsonl'}: no such file, and task mood names no hub data set"
    )


def test_files_are_used_when_any_exists_and_never_mixed_with_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = [{"text": "from", "reply": "hub", "label": 0}]
    monkeypatch.setattr(hub, "load", lambda source, split: data)
    task = make(tmp_path, source=SOURCE)
    assert task.split_names() == ("train", "validation")
    assert task.examples("validation")[0].inputs == ("from", "hub")
    make(tmp_path, rows(1))
    assert task.split_names() == ("train", "test")
    assert task.examples("train")[0].inputs == ("text 0", "reply 0")
    with pytest.raises(UserError, match=r"test\.jsonl: no such file"):
        task.examples("test")


def test_an_unreachable_hub_says_where_the_file_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: hub.HubSource, split: str) -> None:
        raise UserError("cannot be loaded from the hub: no route", where=source.where(split))

    monkeypatch.setattr(hub, "load", fail)
    monkeypatch.delenv("MULTIGRAFT_DATA", raising=False)
    task = make(tmp_path, source=SOURCE, splits={"train": "$MULTIGRAFT_DATA/train.jsonl"})
    with pytest.raises(UserError) as caught:
        task.examples("train")
    assert str(caught.value) == (
        "hub:someone/set/training: cannot be loaded from the hub: no route; check the name and the network; "
        "or provide the file $MULTIGRAFT_DATA/train.jsonl; MULTIGRAFT_DATA is not set"
    )


def test_the_variable_stands_for_a_folder_seen_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    make(tmp_path / "data", rows(1))
    task = make(tmp_path / "elsewhere", splits={"train": "$MULTIGRAFT_DATA/train.jsonl"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MULTIGRAFT_DATA", "data")
    assert task.path("train") == tmp_path / "data" / "train.jsonl"
    assert len(task.examples("train")) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrc": "accuracy"}, "unknown key 'metrc'; did you mean 'metric'?"),
        ({"output": {"kind": "choise", "field": "label"}}, "unknown output.kind 'choise'; did you mean 'choice'?"),
        ({"output": {"field": "label"}}, "'output.kind' is missing"),
        (
            {"output": {"kind": "number", "field": "y", "range": [0, 1], "rnage": 1}, "metric": "pearson"},
            "unknown key 'output.rnage'; did you mean 'range'?",
        ),
        ({"metric": "pearson"}, "metric 'pearson' does not suit a choice"),
        ({"metric": "f1", "output": {"kind": "choice", "field": "l", "choices": ["a", "b", "c"]}}, "needs two options"),
        ({"metric": "f1", "output": {"kind": "choice", "field": "l", "choices_field": "o"}}, "needs fixed options"),
        ({"inputs": ["text", "text"]}, "field 'text' is used twice"),
        ({"inputs": ["text", "label"]}, "field 'label' is used twice"),
        ({"inputs": []}, "'inputs'"),
        ({"cluster": []}, "a cluster is a name, or a list of names"),
        ({"name": "a b"}, "'name'"),
        ({"splits": {}}, "the task has no data"),
        ({"source": SOURCE | {"cofig": "x"}}, "unknown key 'source.cofig'; did you mean 'config'?"),
    ],
)
def test_a_contradictory_description_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        make(tmp_path, **changes)
    assert str(caught.value).startswith("task.yaml: ")
    assert message in str(caught.value)


def test_a_task_belongs_to_one_cluster_or_several(tmp_path: Path) -> None:
    assert make(tmp_path).clusters == ("sentiment",)
    assert make(tmp_path, cluster=["nli", "paraphrase"]).clusters == ("nli", "paraphrase")


def test_a_task_file_is_read_beside_its_rows(tmp_path: Path) -> None:
    make(tmp_path, rows(2))
    (tmp_path / "task.yaml").write_text(json.dumps(BASE), encoding="utf-8")
    assert len(load_task(tmp_path).examples("train")) == 2
