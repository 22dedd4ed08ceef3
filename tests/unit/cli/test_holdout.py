"""`multigraft holdout`: what it prints and writes, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from multigraft.cli.common import run
from multigraft.cli.main import build_app

TEXT = "a fine day in the park by the river"


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Clusters first (one) and second (two, three); a row of two resembles one of one."""
    monkeypatch.setenv("COLUMNS", "200")
    folder = tmp_path / "small"
    for name, cluster in (("one", "first"), ("two", "second"), ("three", "second")):
        (folder / name).mkdir(parents=True)
        task = {
            "name": name,
            "cluster": cluster,
            "inputs": ["text"],
            "output": {"kind": "choice", "field": "label", "choices": ["bad", "good"]},
            "metric": "accuracy",
            "splits": {"train": "train.jsonl", "test": "test.jsonl"},
        }
        (folder / name / "task.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
        for split, text in (("train", TEXT if name == "two" else name), ("test", TEXT)):
            (folder / name / f"{split}.jsonl").write_text(json.dumps({"text": text, "label": 1}) + "\n")
    (folder / "suite.yaml").write_text("name: small\ntasks: [one, two, three]\n", encoding="utf-8")
    return folder


def holdout(*arguments: str | Path) -> int:
    return run(build_app(), ["holdout", *map(str, arguments)])


def test_it_prints_what_is_left_out_and_writes_the_certificate(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = suite / "certificate.json"
    assert holdout(suite, "--cluster", "first", "--output", file) == 0
    out = capsys.readouterr().out
    assert "belongs to the held-out cluster first" in out
    assert "two/train 0" in out
    assert "1.00 (1.00)" in out
    assert "tasks: 1 tested, 2 trained on with 1 rows; 1 rows taken out" in out
    assert json.loads(file.read_text())["seal"] in out
    assert holdout("--verify", file, suite) == 0
    assert "the certificate holds" in capsys.readouterr().out


def test_as_json_it_prints_the_certificate(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert holdout(suite, "--cluster", "first", "--threshold", "0.9", "--json", "--output", suite / "c.json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((suite / "c.json").read_text())
    assert printed["nearness"]["threshold"] == 0.9
    assert printed["overlaps"][0]["held_out_task"] == "one"


def test_a_certificate_that_does_not_hold_ends_with_1(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = suite / "c.json"
    assert holdout(suite, "--cluster", "first", "--output", file) == 0
    file.write_text(file.read_text().replace('"three"', '"four"'))
    capsys.readouterr()
    assert holdout("--verify", file, suite) == 1
    out = capsys.readouterr().out
    assert "seal: it does not fit the contents" in out
    assert "training task four: stated, but not so" in out
    assert holdout("--verify", file, suite, "--json") == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["holds"] is False
    assert len(verdict["differences"]) >= 3


def test_the_suite_of_a_certificate_is_found_by_its_name(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert holdout(suite, "--cluster", "first", "--output", suite / "c.json") == 0
    (suite.parent / "recipes").mkdir()
    suite.rename(suite.parent / "recipes" / "small")
    monkeypatch.chdir(suite.parent)
    assert holdout("--verify", "recipes/small/c.json") == 0


def test_bad_input_ends_with_2(suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("no certificate")
    cases = {
        ("--verify", tmp_path / "text", suite): "text:1: not valid JSON",
        ("--verify", tmp_path / "none", suite): "none: cannot be read",
        ("--verify", tmp_path / "text", "--cluster", "first"): "takes clusters and threshold from the certificate",
        (suite,): "a suite and a cluster are needed",
        ("--cluster", "first"): "a suite and a cluster are needed",
        (suite, "--cluster", "frist"): "unknown cluster 'frist'; did you mean 'first'?",
        (suite, "--cluster", "first", "--threshold", "2"): "--threshold",
    }
    for arguments, message in cases.items():
        assert holdout(*arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
