"""`multigraft tasks`: what it prints, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from multigraft.cli.common import run
from multigraft.cli.tasks import app

GOOD = '{"text": "fine day", "label": "good"}\n{"text": "foul day", "label": "bad"}\n'


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        task = {
            "name": name,
            "cluster": f"cluster {name}",
            "inputs": ["text"],
            "output": {"kind": "choice", "field": "label", "choices": ["bad", "good"]},
            "metric": "accuracy",
            "splits": {"train": "train.jsonl"},
        }
        (tmp_path / name / "task.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
        (tmp_path / name / "train.jsonl").write_text(GOOD, encoding="utf-8")
    text = "name: small\ntasks: [one, two]\nexclusions: [[cluster one, cluster two]]\n"
    (tmp_path / "suite.yaml").write_text(text, encoding="utf-8")
    return tmp_path


def test_check_reports_every_task(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["check", str(suite)]) == 0
    out = capsys.readouterr().out
    assert "bad 50%, good 50%" in out
    assert "excluded together: cluster one, cluster two" in out
    assert "tasks: 2, good rows: 4, faults: 0" in out


def test_check_as_json(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["check", str(suite), "two", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["task"] == "two"
    assert report["splits"][0]["labels"] == {"bad": 1, "good": 1}
    assert report["warnings"] == []


def test_check_counts_tokens_with_a_backbone(
    suite: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from multigraft.backbones import load

    class Words:
        sep_token = "|"

        def __call__(self, first: str, second: str | None, verbose: bool) -> dict[str, list[str]]:
            return {"input_ids": ["<", *first.split(), ">"]}

    monkeypatch.setattr(load, "load_tokenizer", lambda name: Words())
    assert run(app, ["check", str(suite), "--backbone", "words"]) == 0
    assert "4 / 4 / 4" in capsys.readouterr().out


Break = Callable[[Path], object]
FILE_FAULTS: list[tuple[Break, str]] = [
    (lambda s: (s / "one/train.jsonl").unlink(), "one/train.jsonl: no such file"),
    (
        lambda s: add(s, b'{"text": "x", "label": "goood"}\n'),
        "one/train.jsonl:3: label 'goood' is not among the options",
    ),
    (lambda s: add(s, b"\n"), "one/train.jsonl:3: empty row"),
    (lambda s: add(s, b'{"text": " ", "label": "bad"}\n'), "one/train.jsonl:3: empty row"),
    (lambda s: add(s, b'{"text": "x", "label\n'), "one/train.jsonl:3: not valid JSON"),
    (lambda s: add(s, '{"text": "ü", "label": "bad"}\n'.encode("latin-1")), "one/train.jsonl:3: not UTF-8 text"),
]
DESCRIPTION_FAULTS: list[tuple[Break, str]] = [
    (lambda s: (s / "two/task.yaml").unlink(), "two/task.yaml: cannot be read"),
    (lambda s: add(s, b"mertic: f1\n", "one/task.yaml"), "one/task.yaml: unknown key 'mertic'; did you mean 'metric'?"),
    (lambda s: add(s, b"name: one\n", "one/task.yaml"), "key 'name' is given twice"),
    (lambda s: (s / "suite.yaml").write_text("name: s\ntasks: [one, one]\n"), "two tasks are called 'one'"),
    (lambda s: (s / "suite.yaml").write_text("name: s\ntasks: [one\n"), "suite.yaml:"),
]


def add(suite: Path, data: bytes, file: str = "one/train.jsonl") -> None:
    with (suite / file).open("ab") as opened:
        opened.write(data)


@pytest.mark.parametrize(("break_it", "message"), FILE_FAULTS)
def test_a_bad_file_is_one_line_and_the_others_are_still_checked(
    break_it: Break, message: str, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    break_it(suite)
    assert run(app, ["check", str(suite)]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [message in line for line in lines if line.startswith("error: ")] == [True]
    assert lines[-1].endswith("faults: 1")


@pytest.mark.parametrize(("break_it", "message"), DESCRIPTION_FAULTS)
def test_a_bad_description_is_one_line(
    break_it: Break, message: str, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    break_it(suite)
    assert run(app, ["check", str(suite)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_list_reads_no_rows(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (suite / "one" / "train.jsonl").unlink()
    assert run(app, ["list", str(suite)]) == 0
    assert "2 options" in capsys.readouterr().out
    assert run(app, ["list", str(suite), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [task["name"] for task in listed["tasks"]] == ["one", "two"]
    assert listed["clusters"] == {"cluster one": ["one"], "cluster two": ["two"]}


def test_show_prints_examples(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["show", str(suite / "one"), "--rows", "1"]) == 0
    out = capsys.readouterr().out
    assert ("fine day" in out) != ("foul day" in out)
    assert run(app, ["show", str(suite), "two", "--split", "train", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["two"][0] == {"inputs": ["fine day"], "choices": ["bad", "good"], "target": 1, "references": []}
    assert run(app, ["show", str(suite), "--split", "dev"]) == 2
    assert "unknown split 'dev'" in capsys.readouterr().err


def test_markup_in_rows_is_printed_as_it_is(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (suite / "one" / "train.jsonl").write_text('{"text": "[bold]x[/] [/red]", "label": 0}\n', encoding="utf-8")
    assert run(app, ["show", str(suite / "one")]) == 0
    assert "[bold]x[/] [/red]" in capsys.readouterr().out


def test_all_local_tasks_are_reported_whole(data_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["check", str(data_folder / "tasks"), "--json"]) == 0
    reports = json.loads(capsys.readouterr().out)
    index = json.loads((data_folder / "tasks" / "index.json").read_text(encoding="utf-8"))
    rows = {report["task"]: {split["split"]: split["rows"] for split in report["splits"]} for report in reports}
    assert rows == {name: entry["rows"] for name, entry in index.items()}
    assert len(rows) == 47
