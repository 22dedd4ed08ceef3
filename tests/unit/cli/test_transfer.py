"""`multigraft transfer judge`: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
