"""`train`, `evaluate`, `predict` and `compare`: one line and exit code 2 for bad input, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from multigraft.cli.common import run
from multigraft.cli.main import build_app

MakeRecipe = Callable[..., dict[str, Any]]
CLI = build_app()


@pytest.fixture
def recipe(tiny_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe(tasks=["feeling", "amount"], training__steps=4)))
    return path


def test_from_training_to_answers(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(CLI, ["train", str(recipe), "--output", "out"]) == 0
    assert "feeling" in capsys.readouterr().out
    assert run(CLI, ["evaluate", "out", "--split", "test", "--json"]) == 0
    assert [entry["task"] for entry in json.loads(capsys.readouterr().out)] == ["feeling", "amount"]
    assert run(CLI, ["evaluate", "out"]) == 0
    assert "majority" in capsys.readouterr().out
    assert run(CLI, ["predict", "out", "--text", "red [bold]", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["texts"] == ["red [bold]"]
    assert set(found["answers"]) == {"feeling", "amount"}
    assert run(CLI, ["predict", "out", "--text", "red [bold]"]) == 0
    assert "red [bold]" in capsys.readouterr().out
    Path("rows.jsonl").write_text('{"text": "a cat"}\n{"text": "a dog"}\n')
    assert run(CLI, ["predict", "out", "--file", "rows.jsonl", "--output", "said.jsonl"]) == 0
    said = [json.loads(line) for line in Path("said.jsonl").read_text().splitlines()]
    assert [row["text"] for row in said] == ["a cat", "a dog"]


def test_a_folder_in_use_is_not_trained_over(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(CLI, ["train", str(recipe), "--output", "out", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    before = {path: path.read_bytes() for path in Path("out").rglob("*.safetensors")}
    assert run(CLI, ["train", str(recipe), "--output", "out"]) == 2
    assert "add --resume, or name a new folder" in capsys.readouterr().err
    assert run(CLI, ["train", str(recipe), "--output", "out", "--resume", "--set", "seed=1"]) == 2
    assert "the folder holds no run of this recipe" in capsys.readouterr().err
    assert run(CLI, ["train", str(recipe), "--output", "out", "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert {path: path.read_bytes() for path in Path("out").rglob("*.safetensors")} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "none.yaml", "--output", "out"], "none.yaml: cannot be read: No such file"),
        (["train", "recipe.yaml", "--output", "out", "--set", "trainig.steps=3"], "unknown key 'trainig'"),
        (["train", "recipe.yaml", "--output", "out", "--set", "training.stesp=3"], "did you mean 'steps'?"),
        (["train", "recipe.yaml", "--output", "out", "--set", "method=pall"], "did you mean 'pal'?"),
        (["train", "recipe.yaml", "--output", "out", "--set", "schedule=anealed"], "did you mean 'annealed'?"),
        (["train", "recipe.yaml", "--output", "out", "--set", "tasks=[reply]"], "an encoder cannot write"),
        (["train", "recipe.yaml", "--output", "out", "--data", "nowhere"], "--data nowhere: not a folder"),
        (["compare", "recipe.yaml"], "'rows' is missing"),
        (["compare", "recipe.yaml", "--set", "rows=[{method: pall}]"], "did you mean 'pal'?"),
        (["compare", "recipe.yaml", "--set", "rows=[{}, {}]"], "remove one of the two"),
        (["evaluate", "recipe.yaml"], "no model in here"),
        (["predict", "."], "nothing to answer"),
        (["predict", ".", "--text", "a", "--file", "b.jsonl"], "both --text and --file"),
        (["predict", ".", "--text", "a"], "no model in here"),
    ],
)
def test_bad_input_is_one_line(
    recipe: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(CLI, arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not Path("out").exists()


def test_compare_writes_page_and_results_once(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "rows=[{separate: true}, {method: heads_only}, {method: {name: lhuc}, backbone: {tuned: false}}]"
    arguments = ["compare", str(recipe), "--output", "out", "--seeds", "2", "--set", rows]
    assert run(CLI, arguments) == 0
    first = capsys.readouterr()
    assert first.err.count("run ") == 6
    assert "bag of words" in first.out
    page, results = Path("out/report.html").read_text(), json.loads(Path("out/results.json").read_text())
    assert "separate models" in page
    assert [row["seeds"] for row in results["rows"]] == [[0, 1]] * 3
    assert run(CLI, [*arguments, "--json"]) == 0
    second = capsys.readouterr()
    assert json.loads(second.out) == results
    assert "run " not in second.err
