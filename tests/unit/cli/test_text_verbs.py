"""`evaluate` and `generate` with a text-to-text backbone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from multigraft.cli.common import run
from multigraft.cli.main import build_app

CLI = build_app()
MakeBackbone = Callable[..., str]


@pytest.fixture(params=["t5", "llama"])
def backbone(request: pytest.FixtureRequest, backbone_folder: MakeBackbone, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "160")
    return backbone_folder(request.param)


def test_every_task_is_asked_in_words(backbone: str, tiny_suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["evaluate", backbone, "--suite", tiny_suite, "--template", "no template", "--examples", "6",
              "--max-input", "30", "--max-tokens", "5"]  # fmt: skip
    assert run(CLI, [*common, "--split", "test", "--json"]) == 0
    found = {entry["task"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert set(found) == {"feeling", "amount", "pick", "animal", "reply"}
    assert all(entry["rows"] == 6 and entry["by_template"].keys() == {"no template"} for entry in found.values())
    assert found["reply"]["chance"] is None
    assert 30 < found["feeling"]["chance"] < 70
    assert run(CLI, [*common, "--shots", "2", "--norm", "unconditional", "--task", "feeling"]) == 0
    assert "majority" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no suite to ask a backbone about"),
        (["--suite", "{suite}"], "has no templates"),
        (["--suite", "{suite}", "--norm", "byte"], "did you mean 'bytes'"),
        (["--suite", "{suite}", "--template", "none"], "unknown template 'none'"),
    ],
)
def test_bad_questions(
    backbone: str, tiny_suite: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [argument.format(suite=tiny_suite) for argument in arguments]
    assert run(CLI, ["evaluate", backbone, *given]) == 2
    assert message in capsys.readouterr().err


def test_an_encoder_is_not_asked_in_words(
    backbone_folder: MakeBackbone, tiny_suite: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(CLI, ["evaluate", backbone_folder("bert"), "--suite", tiny_suite]) == 2
    assert "an encoder, which writes no text" in capsys.readouterr().err


def test_texts_are_written(backbone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(CLI, ["generate", backbone, "--text", "a cat", "--text", "the dog", "--max-tokens", "4", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [entry["input"] for entry in said] == ["a cat", "the dog"]
    lines = tmp_path / "in.txt"
    lines.write_text("a cat\n\nthe dog\n")
    assert run(CLI, ["generate", backbone, "--file", str(lines), "--max-tokens", "4"]) == 0
    assert capsys.readouterr().out.splitlines() == [entry["output"] for entry in said]
    rows = tmp_path / "in.jsonl"
    rows.write_text('{"text": "a cat"}\n')
    assert run(CLI, ["generate", backbone, "--file", str(rows), "--field", "txt"]) == 2
    assert "did you mean 'text'" in capsys.readouterr().err
    assert run(CLI, ["generate", backbone, "--text", "a", "--chat"]) == 2
    assert "no chat template" in capsys.readouterr().err
