"""`multigraft templates`: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from multigraft.cli.common import run
from multigraft.cli.templates import app

TEMPLATES = """\
templates:
  - name: good or bad
    input: |-
      {{ text }} Is that a good or a bad day?
  - name: grade
    input: "{{ text }} {{ options_list }}"
    choices: [poor, fine]
  - name: write
    inverted: true
    input: "Speak of a {{ answer }} day."
    target: "{{ text }}"
"""
PROMPTS = """\
dataset: days
templates:
  a1: !Template
    answer_choices: bad ||| good
    jinja: "{{ text }} ||| {{ answer_choices[label] }}"
    name: plain
  b2: !Template
    answer_choices: null
    jinja: "{{ texts | choice }} ||| {{ day }}"
    name: drawn
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "suite"
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
        output = {"kind": "choice", "field": "label", "choices": ["bad", "good"]}
        task = {"name": name, "cluster": "c", "inputs": ["text"], "output": output, "metric": "accuracy",
                "splits": {"train": "train.jsonl"}}  # fmt: skip
        (folder / name / "task.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
        rows = ({"text": f"Rain on day {n}.", "label": n % 2} for n in range(4))
        (folder / name / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "one" / "templates.yaml").write_text(TEMPLATES, encoding="utf-8")
    (folder / "suite.yaml").write_text("name: days\ntasks: [one, two]\n", encoding="utf-8")
    return folder


def test_a_suite_is_checked_against_its_tasks(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["lint", str(suite)]) == 0
    out = capsys.readouterr().out
    assert f"ok      {suite / 'one' / 'templates.yaml'}:2: good or bad\n" in out
    assert out.splitlines()[-1] == "files: 1, templates: 3, ok: 3, warning: 0, error: 0"


def test_a_fault_in_any_template_is_an_exit_code(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = suite / "one" / "templates.yaml"
    path.write_text(TEMPLATES.replace("{{ text }} Is", "{{ text }} {{ tekst }} Is"))
    assert run(app, ["lint", str(suite), "one", "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    first, second, _ = report["templates"]
    assert first["verdict"] == "error"
    assert first["findings"][0]["rule"] == "missing field"
    assert first["place"] == f"{path}:2"
    assert second["verdict"] == "ok"
    assert report["summary"] == {
        "files": 1, "templates": 3, "verdicts": {"ok": 2, "warning": 0, "error": 1}, "rules": {"missing field": 1},
    }  # fmt: skip


def test_an_unreadable_file_and_missing_rows_are_reported(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (suite / "one" / "train.jsonl").unlink()
    (suite / "two" / "templates.yaml").write_text("templates: []\n")
    assert run(app, ["lint", str(suite)]) == 2
    out = capsys.readouterr().out
    assert "train.jsonl: no such file" in out
    assert "templates.yaml: holds no template" in out
    assert out.splitlines()[-2] == "files: 2, templates: 3, ok: 3, warning: 0, error: 2"


def test_a_folder_of_another_format_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "days").mkdir()
    (tmp_path / "days" / "templates.yaml").write_text(PROMPTS)
    (tmp_path / "broken.yaml").write_text("dataset: [\n")
    assert run(app, ["lint", str(tmp_path)]) == 2
    out = capsys.readouterr().out
    assert "templates.yaml:3: plain" in out
    assert "random: input, line 1: draws at random with 'choice'" in out
    assert f"error   {tmp_path / 'broken.yaml'}\n" in out
    assert "files: 2, templates: 2, ok: 1, warning: 0, error: 2" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lint", "nowhere"], "no such suite"),
        (["lint", "."], "holds no templates"),
        (["lint", "SUITE", "tow"], "unknown task 'tow'; did you mean 'two'?"),
        (["lint", "SUITE", "two"], "has no templates; write templates.yaml beside a task.yaml"),
        (["show", "SUITE", "two"], "task two: has no templates"),
        (["show", "SUITE", "one", "--template", "grad"], "unknown template 'grad'; did you mean 'grade'?"),
        (["show", "SUITE", "one", "--split", "test"], "unknown split 'test'"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    suite: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert run(app, [str(suite) if part == "SUITE" else part for part in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_show_prints_rendered_examples(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["show", str(suite), "one", "--examples", "4"]) == 0
    out = capsys.readouterr().out
    assert "Rain on day 0. OPTIONS:\n- poor\n- fine\n=> poor\noptions: poor | fine\n" in out
    assert "write (inverted)" in out
    assert "Speak of a good day.\n=> Rain on day 1.\n" in out


def test_show_as_json(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["show", str(suite / "one"), "one", "--template", "grade", "--examples", "9", "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["template"], shown["inverted"], len(shown["examples"])) == ("grade", False, 4)
    assert shown["examples"][1] == {
        "input": "Rain on day 1. OPTIONS:\n- poor\n- fine", "target": "fine", "options": ["poor", "fine"],
    }  # fmt: skip
    assert run(app, ["show", str(suite), "two", "--template", "task name", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["examples"][0]["input"].startswith("two\nRain on day")


def test_all_files_of_promptsource_are_read(data_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = data_folder / "promptsource"
    run(app, ["lint", str(place), "--json"])
    report = json.loads(capsys.readouterr().out)
    files = list(place.rglob("*.yaml"))
    assert report["summary"]["files"] == len(files)
    assert report["summary"]["templates"] == sum(path.read_text("utf-8").count("jinja:") for path in files)
    assert not {"unreadable", "syntax", "unknown"} & set(report["summary"]["rules"])
    drawn = [verdict for verdict in report["templates"] if verdict["template"] == "topic to sentence"]
    assert [finding["rule"] for finding in drawn[0]["findings"]] == ["random"]
