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
from multigraft.strategies import instruction_training
from multigraft.strategies.compare import compare
from multigraft.strategies.instruction_data import training_tasks, word_tasks
from multigraft.strategies.instruction_recipe import CompareInstructions, InstructionRecipe
from multigraft.strategies.instruction_tuning import InstructionTuning, answers_of_part
from multigraft.strategies.runs import RunResult, answers_of
from multigraft.tasks.holdout import hold_out
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


def go(recipe: InstructionRecipe, folder: Path) -> RunResult:
    return InstructionTuning(folder, alone=True).run(recipe, folder, quiet=True)


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
    result = go(recipe, tmp_path)
    found = answers_of(tmp_path)
    assert found.keys() == result.scores.keys() == {"first"}
    assert found["first"].answers.shape == (1, 2, 12)  # the turned-around template is for training only
    assert found["first"].dev is not None
    assert found["first"].dev.answers.shape == (1, 2, 40)  # of the held-out task's training rows
    model, file = load_text_model(tmp_path / "model")
    assert file.tuned == ("method" not in changes)
    assert result.trained_parameters == sum(p.numel() for p in model.parameters() if p.requires_grad)
    again = answers_of_part(recipe, model, [load_suite(recipe.suite).tasks["first"]])
    assert np.array_equal(again["first"].answers, found["first"].answers)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert go(recipe, tmp_path) == result
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    card = json.loads((tmp_path / "model/experts/instructions/card.json").read_text())
    assert card["task"] == "second, third"
    assert card["template"] == "which, plain, back"
    common = ["--suite", recipe.suite, "--task", "first", "--max-input", "30", "--max-tokens", "8", "--json"]
    assert run(build_app(), ["evaluate", str(tmp_path), *common]) == 0
    assert json.loads(capsys.readouterr().out)[0]["mean"] == pytest.approx(found["first"].scores().mean())
    assert run(build_app(), ["generate", str(tmp_path), "--text", "who", "--max-tokens", "3"]) == 0
    assert set(result.ledger) == {"second", "third"}
    assert result.tuning_clusters == 2


def test_rows_that_only_ask_otherwise_share_a_model(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Path] = []
    train = instruction_training.train

    def spy(*arguments: Any) -> Any:
        trained.append(arguments[7])
        return train(*arguments)

    monkeypatch.setattr(instruction_training, "train", spy)
    base = make_recipe().model_dump(mode="json")
    rows = [{}, {"shots": 1}, {"score_templates": "no template"}, {"norm": "bytes"}, {"templates": "task name"},
            {"train_clusters": ["b"]}]  # fmt: skip
    recipe = build(CompareInstructions, {**base, "hold_out": ["a", "c"], "seeds": [0, 1], "rows": rows}, "recipe")
    labels = [label for label, _ in recipe.resolved()]
    assert labels[:4] == ["untuned", "untuned, 1 shot", "untuned, asked with no template", "untuned, bytes"]
    results = compare(recipe, tmp_path, quiet=True)
    assert len(trained) == 3 * 2 * 2  # models, clusters, seeds
    assert compare(recipe, tmp_path, quiet=True) == results
    assert [row.strategy for row in results.rows] == ["untuned"] * 4 + ["instructions"] * 6
    assert [row.seeds for row in results.rows] == [(0,)] * 4 + [(0, 1)] * 6
    assert {row.tuning_clusters for row in results.rows} == {None, 2, 1}
    first, fewer = results.rows[4], results.rows[-1]
    assert first.series == fewer.series != results.rows[5].series
    assert first.by_cluster.keys() == {"a", "c"}
    assert first.scores["first"].mean == pytest.approx(np.mean(list(first.wordings["first"].by_template.values())))
    assert first.wordings["first"].best is not None
    assert results.rows[6].wordings["first"].by_template.keys() == {"no template"}
    assert {task.name: task.chance for task in results.tasks}.keys() == {"first", "third"}
    assert [held.clusters for held in results.held_out] == [("a",), ("c",)]
    assert results.held_out[0].trained_on == ("second", "third")
    assert set(first.ledger) == {"second (without a)", "third (without a)", "first (without c)", "second (without c)"}
    assert len(results.differences) == 45


def test_one_model_for_several_clusters(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    result = go(make_recipe(hold_out=["a", "c"], one_model=True, dev_examples=0, training_shots=1), tmp_path)
    assert result.scores.keys() == {"first", "third"}
    assert set(result.ledger) == {"second"}
    assert (tmp_path / "model").is_dir()
    go(make_recipe(hold_out=["a", "c"]), tmp_path / "two")
    assert [(tmp_path / "two" / name / "model").is_dir() for name in "ac"] == [True, True]
    assert all(found.dev is None for found in answers_of(tmp_path).values())


def test_nothing_held_out_trains_on_everything(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    result = go(make_recipe(hold_out=[]), tmp_path)
    assert result.scores == {}
    assert set(result.ledger) == {"first", "second", "third"}
    assert not (tmp_path / "certificates").exists()


def test_rows_that_training_texts_give_away(make_recipe: MakeRecipe, tmp_path: Path, suite: str) -> None:
    """Of texts shorter than the n-grams a row overlaps when all of it stands in a training text."""
    recipe = make_recipe()
    result = go(recipe, tmp_path)
    tasks = load_suite(suite).tasks
    training = {row.inputs[0] for name in ("second", "third") for row in tasks[name].examples("train")}
    expected = [n for n, row in enumerate(tasks["first"].examples("validation")) if row.inputs[0] in training]
    assert list(result.overlapping["first"]) == expected


def test_train_and_compare_on_the_command_line(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    values = make_recipe(dev_examples=0).model_dump(mode="json")
    Path("one.yaml").write_text(yaml.safe_dump(values))
    Path("two.yaml").write_text(yaml.safe_dump(values | {"rows": [{}, {"train_clusters": ["c"]}]}))
    assert run(build_app(), ["train", "one.yaml", "--output", "one"]) == 0
    assert "average" in capsys.readouterr().out
    assert run(build_app(), ["train", "one.yaml", "--output", "one"]) == 2
    assert "the folder is not empty" in capsys.readouterr().err
    assert run(build_app(), ["compare", "two.yaml", "--output", "two"]) == 0
    printed = capsys.readouterr().out
    assert "untuned" in printed
    assert "held out" in printed
    assert "Held-out clusters" in Path("two/report.html").read_text()
    Path("bad.yaml").write_text(yaml.safe_dump(values | {"strategy": "instruct"}))
    assert run(build_app(), ["train", "bad.yaml", "--output", "bad"]) == 2
    assert "instruction_tuning" in capsys.readouterr().err
    assert not Path("bad").exists()


def test_a_changed_suite_is_noticed(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe()
    go(recipe, tmp_path)
    path = tmp_path / "certificates/a.json"
    path.write_text(path.read_text().replace('"second"', '"other"', 1))
    with pytest.raises(UserError, match="does not hold"):
        InstructionTuning(tmp_path).check(recipe)


def test_what_is_trained_on(make_recipe: MakeRecipe, suite: str) -> None:
    loaded, certificate = load_suite(suite), hold_out(load_suite(suite), ["b"])
    assert [task.name for task in training_tasks(make_recipe(), loaded, certificate)] == ["first", "third"]
    fewer = make_recipe(train_clusters=["c", "b"])
    assert [task.name for task in training_tasks(fewer, loaded, certificate)] == ["third"]
    with pytest.raises(UserError, match="nothing is left to train on without b"):
        training_tasks(make_recipe(train_clusters=["b"]), loaded, certificate)
    with pytest.raises(UserError, match="unknown cluster"):
        training_tasks(make_recipe(train_clusters=["d"]), loaded, certificate)


def test_rows_in_words(make_recipe: MakeRecipe, suite: str) -> None:
    from multigraft.backbones.tiny import tiny_text_backbone

    backbone = tiny_text_backbone("t5")
    form = backbone.text_format(30, 8)
    loaded, certificate = load_suite(suite), hold_out(load_suite(suite), ["a"])

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
    few_shot = words(training_shots=2)["third"]
    assert all(len(row.split("who")) > 2 for row in few_shot if row.endswith("who?"))
