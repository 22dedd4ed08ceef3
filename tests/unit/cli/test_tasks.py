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


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three tables of unknown columns: with a choice, a number and a text to answer."""
    monkeypatch.setenv("COLUMNS", "200")
    lines = [f"{n},the meal at table {n} was {['foul', 'fine'][n % 2]},{['sad', 'glad'][n % 2]}" for n in range(40)]
    (tmp_path / "mood.csv").write_text(
        "\n".join(["no,remark,felt", *lines, "40,[bold]nothing[/red],"]), encoding="utf-8"
    )
    lines = [f"the meal at table {n};{n % 23 / 4}" for n in range(40)]
    (tmp_path / "strength.csv").write_text("\n".join(["remark;strength", *lines]), encoding="utf-8")
    lines = [f"what was it at table {n}?\tit was a meal of {n} plates" for n in range(40)]
    (tmp_path / "reply.tsv").write_text("\n".join(["asked\treply", *lines]), encoding="utf-8")
    return tmp_path


def test_init_says_what_it_inferred(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in tables.iterdir()}
    assert run(app, ["init", str(tables)]) == 0
    out = capsys.readouterr().out
    for said in ("felt (choice)", "strength (number)", "reply (text)", "0 to 5.5", "no: identifiers", "validation 4 *"):
        assert said in out
    assert "mood: rows without an answer, left out: 1" in out
    assert "doubtful: mood: 'felt' is taken as the answer by its values alone: --label mood:COLUMN" in out
    assert {path: path.read_bytes() for path in before} == before
    assert run(app, ["check", str(tables / "suite")]) == 0
    assert "tasks: 3, good rows: 120, faults: 0" in capsys.readouterr().out


def test_init_as_json_and_elsewhere(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = tables / "other" / "place"
    arguments = ["init", str(tables), "--output", str(suite), "--label", "no", "--text", "remark", "--json"]
    assert run(app, arguments) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["suite"] == str(suite)
    mood, reply, strength = said["tasks"]
    assert mood["inputs"] == ["remark"]
    assert mood["output"] == {"kind": "number", "field": "no", "range": [0.0, 40.0]}
    assert mood["left_out"] == {"felt": "not named"}
    assert reply["rows"] == {"train": 28, "validation": 4, "test": 8}
    assert strength["cut"] == ["validation", "test"]
    assert strength["files"] == [str(tables / "strength.csv")]


def test_init_refuses_in_one_line(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["init", str(tables)]) == 0
    for arguments, message in [
        ([str(tables)], "suite: exists; give --replace"),
        ([str(tables), "--output", str(tables), "--replace"], "exists and is no suite"),
        ([str(tables), "--label", "mood:flet"], "--label mood:flet: unknown column 'flet'; did you mean 'felt'?"),
        ([str(tables / "suite")], "suite: is a suite as it is"),
        ([str(tables / "absent")], "absent: not a folder"),
    ]:
        capsys.readouterr()
        assert run(app, ["init", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert run(app, ["init", str(tables), "--replace"]) == 0


def test_all_local_tasks_are_reported_whole(data_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["check", str(data_folder / "tasks"), "--json"]) == 0
    reports = json.loads(capsys.readouterr().out)
    index = json.loads((data_folder / "tasks" / "index.json").read_text(encoding="utf-8"))
    rows = {report["task"]: {split["split"]: split["rows"] for split in report["splits"]} for report in reports}
    assert rows == {name: entry["rows"] for name, entry in index.items()}
    assert len(rows) == 47
