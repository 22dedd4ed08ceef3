"""`multigraft transfer`: what it prints and writes, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from multigraft.cli.common import run
from multigraft.cli.main import build_app

MATRIX = "source,RTE,CB\nnone,60,80\n[red]MNLI,60,90\nSST-2,70,60\n:bug:,50,85\n"
PREDICTED = "source,RTE,CB\n[red]MNLI,3,3\nSST-2,1,2\n:bug:,2,1\n"
PUBLISHED = Path(__file__).parents[4] / "shared" / "reference" / "spot" / "transfer_matrix.csv"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "matrix.csv").write_text(MATRIX)
    (tmp_path / "predicted.csv").write_text(PREDICTED)
    (tmp_path / "sizes.csv").write_text("source,size\n[red]MNLI,10\nSST-2,20\n:bug:,20\n")
    return tmp_path


def judge(folder: Path, *arguments: str) -> int:
    files = [str(folder / one) if one.endswith(".csv") else one for one in arguments]
    return run(build_app(), ["transfer", "judge", *files])


def test_it_shows_what_there_is_to_predict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(folder, "matrix.csv") == 0
    out = capsys.readouterr().out
    assert "3 sources, 2 targets, seeds: 1; 2 of 6 cells are below no transfer" in out
    assert "always [red]MNLI, best over all targets" in out
    assert ":bug:" not in out  # the best of no target
    assert "same for all" in out
    assert "for 90 % of the oracle's gain: random k = 3 (saves 0.0 %), same for all k = 3 (saves 0.0 %)" in out
    assert "95 %: interval of the gain, over targets" in out
    assert "Pearson" not in out
    assert "largest" not in out


def test_it_judges_a_prediction(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("matrix.csv", "--predicted", "predicted.csv", "--sizes", "sizes.csv", "--k", "2")
    assert judge(folder, *arguments) == 0
    out = capsys.readouterr().out
    assert "The prediction gains more than" in out
    assert "Pearson" in out
    assert "largest source" in out
    assert judge(folder, *arguments, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [best["k"] for best in found["best_of"]] == [2]
    assert found["best_of"][0]["predicted"]["score"] == 75
    assert found["largest_source"]["score"] == 66.25


def test_one_target_and_one_source_are_enough(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "least.csv").write_text("source,RTE\nnone,100\nMNLI,100\n")
    assert judge(folder, "least.csv", "--predicted", "least.csv") == 0
    assert "the oracle gains nothing" in capsys.readouterr().out


def test_the_published_matrix(capsys: pytest.CaptureFixture[str]) -> None:
    if not PUBLISHED.exists():
        pytest.skip("the published matrix is not there")
    assert run(build_app(), ["transfer", "judge", str(PUBLISHED), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert round(found["no_transfer"]["score"], 2) == 74.68
    assert found["best_single_source"]["source"] == "MNLI"
    assert round(found["best_single_source"]["figures"]["score"], 2) == 78.59
    assert round(found["mean_of_sources"]["score"], 2) == 74.68
    assert round(found["oracle"]["score"], 2) == 79.42
    assert (found["negative_cells"], found["cells"]) == (60, 160)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.csv",), "none.csv: cannot be read"),
        (("sizes.csv",), "has no row 'none'"),
        (("matrix.csv", "--k", "4"), "error: k is 4; choose from 1 to 3"),
        (("matrix.csv", "--predicted", "sizes.csv"), "target 'size' is not in the matrix"),
        (("matrix.csv", "--sizes", "predicted.csv"), "has no column 'size'"),
    ],
)
def test_bad_input_ends_with_2(
    folder: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(folder, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.fixture
def settings(backbone_folder: Callable[..., str], tmp_path: Path) -> list[str]:
    """Arguments for a small run on a tiny backbone with three tasks of the starter suite."""
    recipe = {
        "strategy": "prompt_transfer", "tasks": ["contrary", "coin", "gap"], "backbone": {"name": backbone_folder()},
        "method": {"name": "soft_prompt", "length": 3}, "examples": 20, "dev_examples": 6, "scored_examples": 10,
        "training": {"steps": 8, "epochs": 2, "batch_size": 4, "max_length": 20, "precision": "fp32"},
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return ["--recipe", str(tmp_path / "recipe.yaml")]


def test_a_map_is_drawn_and_its_prompts_start_a_target(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    library, output = str(tmp_path / "library"), tmp_path / "map"
    arguments = ["transfer", "map", "starter", "--output", str(output), "--library", library, *settings]
    assert run(build_app(), arguments) == 0
    assert "Cosine of average tokens" in capsys.readouterr().out
    alike = json.loads((output / "similarity.json").read_text())
    assert sorted(alike["tasks"]) == sorted(alike["order"]) == ["coin", "contrary", "gap"]
    assert [len(row) for row in alike["per_token"]] == [3, 3, 3]
    assert (output / "map.svg").read_text().startswith("<svg")
    assert run(build_app(), arguments) == 2  # their names are taken
    assert "--replace" in capsys.readouterr().err
    assert run(build_app(), [*arguments, "--replace"]) == 0
    capsys.readouterr()
    to = ["transfer", "to", "coin", "--suite", "starter", "--from", library, *settings]
    assert run(build_app(), [*to, "--output", str(tmp_path / "to"), "--use", "best-of-2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["tried"]) == {"contrary", "gap"}
    assert Path(found["prompt"]).is_dir()
    assert run(build_app(), [*to, "--output", str(tmp_path / "auto"), "--set", "training.steps=9"]) == 0
    assert "coin: " in capsys.readouterr().out
    for wrong, words in (
        (["--use", "best-of-0"], "say auto"),
        (["--use", "some"], "say auto"),
        (["--by", "per_tokn"], "did you mean 'per_token'"),
        (["--add"], "is here already"),
        (["--from", str(output)], "not a library"),
    ):
        assert run(build_app(), [*to, "--output", str(tmp_path / "wrong"), *wrong]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "wrong").exists()


def test_a_matrix_is_trained_and_can_be_judged(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "matrix"
    arguments = ["transfer", "matrix", "starter", "--output", str(output), "--target", "coin", *settings]
    assert run(build_app(), [*arguments, "--seeds", "2", "--predictor", "per_token"]) == 0
    assert "predicted_per_token.csv" in capsys.readouterr().out
    files = [str(output / name) for name in ("matrix.csv", "predicted_per_token.csv")]
    assert run(build_app(), ["transfer", "judge", files[0], "--predicted", files[1]]) == 0
    assert "2 sources, 1 targets, seeds: 2" in capsys.readouterr().out
    for wrong, words in (
        (["--source", "coin"], "'coin' is source and target"),
        (["--source", "coyn"], "did you mean 'coin'"),
        (["--predictor", "sise"], "did you mean 'size'"),
    ):
        assert run(build_app(), [*arguments, *wrong]) == 2
        assert words in capsys.readouterr().err
