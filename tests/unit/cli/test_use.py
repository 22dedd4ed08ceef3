"""`multigraft use`: what a comparison trained becomes a model that answers as it did."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multigraft.cli.common import run
from multigraft.cli.main import build_app
from multigraft.evaluation.answers import Answerer
from multigraft.library.text_folder import load_text_model
from multigraft.settings import build
from multigraft.strategies.compare import compare
from multigraft.strategies.results import Results
from multigraft.strategies.several import CompareSeveral
from multigraft.tasks.suite import load_suite

TRAINING = {"steps": 6, "epochs": 2, "batch_size": 4, "precision": "fp32", "max_length": 20, "checkpoint_seconds": 0}
LABELS = {
    "separate": "separate models", "joint": "low_rank", "prompts": "best of top 1 by text", "experts": "own experts",
    "words": "instruction tuning",
}  # fmt: skip


@pytest.fixture(scope="module")
def compared(
    word_suite: str, backbone_folder: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Results]:
    encoder, words = {"name": backbone_folder("bert")}, {"name": backbone_folder("t5")}
    prompts: dict[str, Any] = {"method": {"name": "soft_prompt", "length": 3}, "transfer": {"by": "text"}}
    rows = [
        {"strategy": "multitask", "backbone": encoder, "separate": True, "training": {"steps": 18}},
        {"strategy": "multitask", "backbone": encoder, "method": "low_rank", "training": {"steps": 18}},
        {"strategy": "prompt_transfer", "backbone": encoder, "dev_examples": 6, **prompts},
        {"strategy": "expert_retrieval", "backbone": encoder, "dev_examples": 6, "use": "own"},
        {"strategy": "expert_retrieval", "backbone": encoder, "dev_examples": 6, "use": "oracle"},
        {"strategy": "instruction_tuning", "backbone": words, "seen": True, "templates": "no template",
         "score_templates": "no template", "text": {"max_input": 30, "max_target": 8}},
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("compared")
    values = {"strategy": "several", "suite": word_suite, "training": TRAINING, "rows": rows}
    return folder, compare(build(CompareSeveral, values, "recipe"), folder, quiet=True)


def used(folder: Path, output: Path, *options: str) -> int:
    return run(build_app(), ["use", str(folder), str(output), *options])


@pytest.mark.parametrize("kind", ["joint", "prompts", "experts", "separate"])
def test_the_model_answers_as_it_was_scored(
    compared: tuple[Path, Results], kind: str, word_suite: str, tmp_path: Path
) -> None:
    folder, results = compared
    [row] = [one for one in results.rows if one.label.startswith(LABELS[kind])]
    assert used(folder, tmp_path / "model", "--row", row.label) == 0
    answerer = Answerer.load(tmp_path / "model")
    for name, task in load_suite(word_suite).tasks.items():
        rows = task.examples("validation")
        found = answerer.answer([{"text": one.inputs[0]} for one in rows])
        right = [answers[name].text == one.choices[one.target] for answers, one in zip(found, rows, strict=True)]  # type: ignore[index]
        assert 100 * sum(right) / len(right) == pytest.approx(row.scores[name].mean)


def test_a_text_model_is_one_too(compared: tuple[Path, Results], tmp_path: Path) -> None:
    folder, results = compared
    [row] = [one for one in results.rows if one.strategy == "instructions"]
    assert used(folder, tmp_path / "model", "--row", row.label) == 0
    assert load_text_model(tmp_path / "model")[1].tuned


def test_the_best_that_kept_a_model_is_taken(
    compared: tuple[Path, Results], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, results = compared
    assert used(folder, tmp_path / "model", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    better = [one.label for one in results.rows if one.average.mean > found["average"]]
    assert len(found["passed_over"]) <= 1  # the oracle is not to be had
    assert all(label.startswith("oracle") for label in better)


def test_bad_input_is_one_line(
    compared: tuple[Path, Results], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, results = compared
    oracle = next(row.label for row in results.rows if row.label.startswith("oracle"))
    (tmp_path / "there").mkdir()
    for run_folder, output, options, message in (
        (tmp_path, "m", (), "no results in here"),
        (folder, "there", (), "exists"),
        (folder, "m", ("--row", "orcale"), "unknown row 'orcale'"),
        (folder, "m", ("--row", oracle), "keeps no model of its own"),
        (folder, "m", ("--seed", "7"), "has no run with seed 7"),
    ):
        assert used(run_folder, tmp_path / output, *options) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
        assert not (tmp_path / "m").exists()
