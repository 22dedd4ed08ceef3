"""Instruction tuning: what is trained on, what is kept, and that nothing is done twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from multigraft.cli.common import run
from multigraft.cli.main import build_app
from multigraft.errors import UserError
from multigraft.library.text_folder import load_text_model
from multigraft.settings import build
from multigraft.strategies.instruction_data import training_tasks, word_tasks
from multigraft.strategies.instruction_recipe import InstructionRecipe
from multigraft.strategies.instruction_tuning import certificate_of, run_cluster, score_cluster
from multigraft.tasks.suite import load_suite

MakeRecipe = Callable[..., InstructionRecipe]
WORDS = ("cat", "dog", "red", "blue")


def _task(folder: Path, name: str, cluster: str, rows: int) -> None:
    """Which of two words comes first: a task with two templates, one of them turned around."""
    place = folder / name
    place.mkdir()
    lines = {"train": rows, "validation": 12, "test": 8}
    for number, (split, count) in enumerate(lines.items()):
        draw = np.random.default_rng([number, len(name)])
        texts = [(*draw.permutation(WORDS)[:2], " ".join(draw.choice(list("efghijkl"), 6))) for _ in range(count)]
        found = [{"text": f"{a} {b} {rest}", "label": str(a)} for a, b, rest in texts]
        (place / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    task = {
        "name": name, "cluster": cluster, "inputs": ["text"], "metric": "accuracy", "licence": "CC0",
        "output": {"kind": "choice", "field": "label", "choices": list(WORDS)},
        "splits": {split: f"{split}.jsonl" for split in lines}, "sources": [name],
    }  # fmt: skip
    (place / "task.yaml").write_text(yaml.safe_dump(task))
    templates = [
        {"name": "which", "input": "who is one ? {{ text }} {{ options_list }}"},
        {"name": "plain", "input": "{{ text }} who ?"},
        {"name": "back", "input": "one {{ answer }}", "target": "{{ text }}", "inverted": True},
    ]
    (place / "templates.yaml").write_text(yaml.safe_dump({"templates": templates}))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("words")
    for name, cluster, rows in (("first", "a", 40), ("second", "b", 30), ("third", "c", 20)):
        _task(folder, name, cluster, rows)
    (folder / "suite.yaml").write_text(yaml.safe_dump({"name": "words", "tasks": ["first", "second", "third"]}))
    return str(folder)


@pytest.fixture
def make_recipe(suite: str, backbone_folder: Callable[..., str]) -> MakeRecipe:
    def make(family: str = "t5", **changes: Any) -> InstructionRecipe:
        values: dict[str, Any] = {
            "suite": suite, "hold_out": ["a"], "backbone": {"name": backbone_folder(family)},
            "text": {"max_input": 30, "max_target": 8},
            "training": {"steps": 4, "epochs": 2, "batch_size": 6, "precision": "fp32", "choose": "last",
                         "learning_rate": 1e-3, "checkpoint_seconds": 0, "batches": "mixed"},
        }  # fmt: skip
        return build(InstructionRecipe, values | changes, "recipe")

    return make


@pytest.mark.parametrize("family", ["t5", "encoder-decoder", "llama"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"method": "lora", "text": {"max_input": 30, "max_target": 8, "packing": 60, "weighting": "example"}}],
    ids=["full", "lora"],
)
def test_a_cluster_is_tuned_scored_and_kept(
    make_recipe: MakeRecipe,
    family: str,
    changes: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    frozen = {"backbone": {"name": make_recipe(family).backbone.name, "tuned": "method" not in changes}}
    recipe = make_recipe(family, **changes, **frozen)
    found = run_cluster(recipe, "a", tmp_path / "a", quiet=True)
    assert found.keys() == {"first"}
    assert found["first"].answers.shape == (1, 2, 12)  # the turned-around template is for training only
    model, file = load_text_model(tmp_path / "a" / "model")
    assert file.tuned == ("method" not in changes)
    again = score_cluster(
        recipe, model, load_suite(recipe.suite), certificate_of(load_suite(recipe.suite), "a", tmp_path / "a")
    )
    assert np.array_equal(again["first"].answers, found["first"].answers)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    kept = run_cluster(recipe, "a", tmp_path / "a", quiet=True)
    assert np.array_equal(kept["first"].answers, found["first"].answers)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    card = json.loads((tmp_path / "a/model/experts/instructions/card.json").read_text())
    assert card["task"] == "second, third"
    assert card["template"] == "which, plain, back"
    common = ["--suite", recipe.suite, "--task", "first", "--max-input", "30", "--max-tokens", "8", "--json"]
    assert run(build_app(), ["evaluate", str(tmp_path / "a"), *common]) == 0
    assert json.loads(capsys.readouterr().out)[0]["mean"] == pytest.approx(found["first"].scores().mean())
    assert run(build_app(), ["generate", str(tmp_path / "a"), "--text", "who", "--max-tokens", "3"]) == 0
    assert set(json.loads((tmp_path / "a/ledger.json").read_text())) == {"second", "third"}


def test_what_is_trained_on(make_recipe: MakeRecipe, suite: str, tmp_path: Path) -> None:
    loaded, certificate = load_suite(suite), certificate_of(load_suite(suite), "b", tmp_path)
    assert certificate_of(loaded, "b", tmp_path) == certificate
    assert [task.name for task in training_tasks(make_recipe(), loaded, certificate)] == ["first", "third"]
    fewer = make_recipe(train_clusters=["c", "b"])
    assert [task.name for task in training_tasks(fewer, loaded, certificate)] == ["third"]
    with pytest.raises(UserError, match="nothing is left to train on without b"):
        training_tasks(make_recipe(train_clusters=["b"]), loaded, certificate)
    with pytest.raises(UserError, match="unknown cluster"):
        training_tasks(make_recipe(train_clusters=["d"]), loaded, certificate)


def test_rows_in_words(make_recipe: MakeRecipe, suite: str, tmp_path: Path) -> None:
    from multigraft.backbones.tiny import tiny_text_backbone

    backbone = tiny_text_backbone("t5")
    form = backbone.text_format(30, 8)
    loaded, certificate = load_suite(suite), certificate_of(load_suite(suite), "a", tmp_path)

    def words(**changes: Any) -> dict[str, list[str]]:
        recipe = make_recipe(**changes)
        tasks = training_tasks(recipe, loaded, certificate)
        train = word_tasks(recipe, tasks, certificate, form, backbone.tokenizer).train
        decode = backbone.tokenizer.decode
        return {n: [decode(r.input(i), skip_special_tokens=True) for i in range(len(r))] for n, r in train.items()}

    whole, few = words(), words(examples=10)
    assert {name: len(rows) for name, rows in whole.items()} == {"second": 30, "third": 20}
    assert {name: len(rows) for name, rows in few.items()} == {"second": 10, "third": 10}
    # Each template gets a third of the rows; one of the two that ask lists the options.
    assert sum(row.startswith("one") for row in whole["second"]) == 10
    assert sum(row.startswith("who is one") for row in whole["second"]) == 10
    assert not any(row.endswith("who?") for row in words(templates=1)["third"])
    lines = (Path(suite) / "third/train.jsonl").read_text().splitlines()
    assert words(templates="no template")["third"] == [json.loads(line)["text"] for line in lines]
    with pytest.raises(UserError, match="has 3 templates, 4 were asked for"):
        words(templates=4)
