from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from multigraft.errors import UserError
from multigraft.evaluation.metrics import score
from multigraft.evaluation.scoring import in_units, predict_tasks
from multigraft.library.card import Card, data_fingerprint
from multigraft.library.model_folder import load_model
from multigraft.settings import build
from multigraft.strategies import multitask
from multigraft.strategies.data import Data, check, load_data
from multigraft.strategies.multitask import separate_steps
from multigraft.strategies.recipe import Recipe
from multigraft.strategies.runs import RunResult, answers_of, finished

MakeRecipe = Callable[..., dict[str, Any]]


def go(values: dict[str, Any], folder: Path) -> tuple[Recipe, Data, RunResult]:
    recipe = build(Recipe, values, "recipe")
    data = load_data(recipe)
    check(recipe, data)
    return recipe, data, multitask.run(recipe, data, folder, quiet=True)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_a_run_leaves_a_model_its_scores_and_its_ledger(tiny_recipe: MakeRecipe, tmp_path: Path, family: str) -> None:
    recipe, data, result = go(tiny_recipe(family, score_on="test", scored_examples=15), tmp_path / "r")
    assert finished(tmp_path / "r") == result
    assert result.steps == 12
    assert list(result.scores) == ["feeling", "amount", "pick", "animal"]
    for task in data.tasks:
        found = answers_of(tmp_path / "r")[task.name]
        assert found.answers.shape == (1, 1, 15)
        assert score(task.metric, found.answers[0, 0], found.targets) == result.scores[task.name]
    model, _, file = load_model(tmp_path / "r" / "model")
    assert file.method == recipe.method
    assert result.parameters == model.shared_parameters() + sum(map(model.parameters_of, model.names))
    assert result.trained_parameters == result.parameters == sum(p.numel() for p in model.parameters()) - padding(model)
    assert sum(entry["drawn"] for entry in result.ledger.values()) == 12 * 8
    assert len(result.draws["pick"]) == 3
    assert len(result.curve["dev_step"]) == 3
    assert result.answer_ms > 0
    assert result.peak_memory_mb > 0
    assert sorted(path.name for path in (tmp_path / "r").iterdir() if path.name != "tensorboard") == [
        "log.jsonl",
        "model",
        "result",
    ]


def padding(model: Any) -> int:
    """Values of heads that stand in the place of classes which narrower tasks do not have."""
    return int(model.heads.stack.values.numel() - sum(map(model.heads.size, model.names)))


def test_a_finished_run_is_not_repeated(
    tiny_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = tiny_recipe(training__steps=2, training__epochs=1)
    _, _, first = go(values, tmp_path)
    monkeypatch.setattr(multitask, "train", None)
    assert go(values, tmp_path)[2] == first


@pytest.mark.parametrize(("choose", "split"), [("best", "test"), ("best", "validation"), ("last", "validation")])
def test_the_scores_are_those_of_the_model_in_the_folder(
    tiny_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choose: str, split: str
) -> None:
    """With dev averages that fall, the best model is the first one, and it is loaded again."""
    averages = iter([90.0, 50.0, 10.0])
    whole = multitask.score_tasks

    def falling(tasks: Any, predictions: Any, data: Any) -> dict[str, float]:
        average = next(averages, None)
        return whole(tasks, predictions, data) if average is None else dict.fromkeys(data, average)

    monkeypatch.setattr(multitask, "score_tasks", falling)
    _, data, result = go(tiny_recipe(training__choose=choose, score_on=split), tmp_path)
    assert result.chosen_step == (4 if choose == "best" else 12)
    model, _, _ = load_model(tmp_path / "model")
    found = predict_tasks(model, data.scored, "fp32")
    kept = answers_of(tmp_path)
    for task in data.tasks:
        assert np.array_equal(kept[task.name].answers[0, 0], in_units(task, found[task.name]))
    card = json.loads((tmp_path / "model/experts/pick/card.json").read_text())
    assert card["steps"] == result.chosen_step


@pytest.mark.parametrize("tuned", [True, False], ids=["tuned", "frozen"])
def test_cards_tell_what_an_expert_was_made_from(tiny_recipe: MakeRecipe, tmp_path: Path, tuned: bool) -> None:
    values = tiny_recipe(training__steps=2, training__epochs=1, seed=3)
    values["backbone"]["tuned"] = tuned
    recipe, data, result = go(values, tmp_path)
    model, _, file = load_model(tmp_path / "model")
    for task in data.tasks:
        card = Card.model_validate_json((tmp_path / f"model/experts/{task.name}/card.json").read_text())
        assert (card.task, card.method, card.backbone) == (task.name, recipe.method, recipe.backbone.name)
        assert card.backbone_fingerprint == model.backbone.weights_fingerprint()
        assert (card.backbone_fingerprint == file.backbone_fingerprint) is not tuned
        assert card.data_fingerprint == data_fingerprint(data.train[task.name])
        assert card.scores == {task.metric: result.scores[task.name]}
        assert (card.seed, card.steps, card.licence, card.parents) == (3, 2, "CC0", ())
        assert {"multigraft", "torch", "transformers"} == set(card.versions)
    assert (result.trained_parameters == result.parameters) is tuned


def test_it_learns(tiny_recipe: MakeRecipe, tmp_path: Path) -> None:
    training = {"training__steps": 90, "training__epochs": 1, "training__batches": "mixed"}
    _, _, result = go(tiny_recipe(**training, training__module_learning_rate=1e-2), tmp_path)
    assert result.scores["feeling"] > 90
    assert result.scores["amount"] > 70
    assert result.scores["animal"] > 60


def test_separate_models_share_the_steps(tiny_recipe: MakeRecipe, tmp_path: Path) -> None:
    _, data, result = go(tiny_recipe(separate=True, method="heads_only", training__epochs=2), tmp_path)
    alone = {task.name: finished(tmp_path / task.name) for task in data.tasks}
    assert all(alone.values())
    steps = {name: found.steps for name, found in alone.items() if found}
    assert sum(steps.values()) == result.steps == 12
    assert steps["animal"] > steps["pick"]
    assert result.scores == {name: found.scores[name] for name, found in alone.items() if found}
    assert result.parameters == sum(found.parameters for found in alone.values() if found)
    assert 3.9 < result.parameters / result.one_model < 4.1


@pytest.mark.parametrize("tuned", [True, False], ids=["tuned", "frozen"])
def test_what_a_checkpoint_lacks_is_drawn_from_the_seed(
    tiny_recipe: MakeRecipe, backbone_folder: Callable[..., str], tmp_path: Path, tuned: bool
) -> None:
    """A backbone without its pooler, as many on the hub are, gives the same model again."""
    folder = tmp_path / "bare"
    shutil.copytree(backbone_folder("bert"), folder)
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("pooler.")}
    assert len(kept) == len(tensors) - 2
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    backbone = {"name": str(folder), "tuned": tuned, "pooler": "shared"}
    for run in ("a", "b"):
        torch.rand(3)
        go(tiny_recipe(training__steps=2, training__epochs=1, backbone=backbone), tmp_path / run)
    a, b = (load_file(tmp_path / run / "model" / "shared.safetensors") for run in ("a", "b"))
    assert all(torch.equal(a[name], b[name]) for name in a)


@given(
    st.lists(st.floats(0, 1e5), min_size=1, max_size=9).filter(lambda rows: sum(rows) > 0),
    st.integers(1, 64),
)
def test_the_shares_of_separate_models_make_up_the_joint_run(rows: list[float], batch: int) -> None:
    planned = {str(number): share for number, share in enumerate(rows)}
    shares = separate_steps(planned, batch)
    joint = sum(rows) / batch
    idle = sum(share < batch for share in rows)  # they may get a step that is not theirs
    assert joint - 1 <= sum(shares.values()) <= joint + 1 + idle
    assert all(abs(shares[name] - share / batch) <= 1.0001 for name, share in planned.items())
    assert min(shares.values()) >= 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tasks": ["feeling", "reply"]}, "reply: the answer is a text, which an encoder cannot write"),
        ({"tasks": ["feling"]}, "unknown task 'feling'; did you mean 'feeling'?"),
        ({"examples": {"feling": 3}}, "unknown task 'feling'; did you mean 'feeling'?"),
        ({"score_on": "tst"}, "tst"),
        ({"suite": "/no/where"}, "/no/where: no such suite"),
        ({"backbone": {"name": "/no/where"}}, "/no/where: cannot load the backbone"),
        ({"method": {"name": "low_rank", "layers": [7]}}, "layer 7 does not exist"),
        ({"method": {"name": "pal", "heads": 5, "width": 12}}, "12"),
    ],
)
def test_what_does_not_fit_is_one_line_before_training(
    tiny_recipe: MakeRecipe, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as error:
        go(tiny_recipe(**changes), tmp_path / "r")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "r").exists()


def test_data_are_cut_to_what_is_asked_for(tiny_recipe: MakeRecipe) -> None:
    recipe = build(Recipe, tiny_recipe(examples={"feeling": 10}, scored_examples=7, score_on="test"), "r")
    data = load_data(recipe)
    assert {name: len(rows) for name, rows in data.train.items()} == {
        "feeling": 10, "amount": 80, "pick": 60, "animal": 160}  # fmt: skip
    assert {len(rows) for rows in (*data.dev.values(), *data.scored.values())} == {7}
    alone = data.only("pick")
    assert ([task.name for task in alone.tasks], list(alone.train)) == (["pick"], ["pick"])
