"""Experts in bulk: each comes out as it would alone, and a run that is stopped goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multigraft.settings import build
from multigraft.strategies import experts
from multigraft.strategies.answering import Answering, HeadAnswering, answering, divide
from multigraft.strategies.experts import Trained, Wanted, train_experts
from multigraft.strategies.prompt_recipe import PromptRecipe
from multigraft.tasks.suite import load_suite
from multigraft.training.objective import HeadObjective, TextObjective

NAMES = ["first", "second", "third"]
Make = Callable[..., Answering]


@pytest.fixture
def make(word_suite: str, backbone_folder: Callable[..., str]) -> Make:
    def made(family: str = "bert", method: object = None, **training: Any) -> Answering:
        values: dict[str, Any] = {
            "suite": word_suite, "backbone": {"name": backbone_folder(family)}, "dev_examples": 6,
            "method": method or {"name": "soft_prompt", "length": 3}, "text": {"max_input": 40, "max_target": 8},
            "training": {"steps": 10, "epochs": 10, "score_every": 5, "batch_size": 4, "precision": "fp32",
                         "module_learning_rate": 0.01, "checkpoint_seconds": 0, "clip": 0.1,
                         "part_positions": 100, "max_length": 20, **training},
        }  # fmt: skip
        recipe = build(PromptRecipe, values, "recipe")
        return answering(recipe, list(load_suite(word_suite).tasks.values()))

    return made


def go(answers: Answering, folder: Path, names: list[str], **changes: Any) -> dict[str, Trained]:
    recipe = answers.recipe
    wanted = [Wanted(name, name, recipe.training) for name in names]
    return train_experts(answers, wanted, recipe.method, folder, label="", quiet=True, **changes)


@pytest.mark.parametrize("family", ["bert", "t5", "llama"])
@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_an_expert_is_what_it_is_alone(make: Make, tmp_path: Path, family: str, optimizer: str) -> None:
    answers = make(family, optimizer=optimizer)
    together = go(answers, tmp_path / "together", NAMES)
    for name in NAMES:
        alone = go(answers, tmp_path / "alone", [name])[name]
        for key, tensor in alone.best().items():
            torch.testing.assert_close(together[name].best()[key], tensor, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together[name].early()["prompt"], alone.early()["prompt"], rtol=1e-4, atol=1e-5)
        assert together[name].outcome.dev_curve == alone.outcome.dev_curve
        fresh = answers.model({name: name}, answers.recipe.method, tuned=False).bank.stack.expert(name)["prompt"]
        assert (alone.module()["prompt"] - fresh).abs().max() > 1e-3  # it learned something


def test_banks_of_any_size_give_the_same(make: Make, tmp_path: Path) -> None:
    answers = make(method="lora")
    whole, parts = go(answers, tmp_path / "a", NAMES), go(answers, tmp_path / "b", NAMES, bank_size=2)
    for name in NAMES:
        for key, tensor in whole[name].best().items():
            torch.testing.assert_close(parts[name].best()[key], tensor, rtol=1e-4, atol=1e-5)
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == NAMES  # and nothing is left behind


def test_every_expert_has_its_own_length_and_settings(make: Make, tmp_path: Path) -> None:
    answers = make(method="lora", steps=None, passes=2.5)
    recipe = answers.recipe.model_copy(update={"training_of": {"second": {"steps": 7, "module_learning_rate": 0.002}}})
    wanted = [Wanted(name, name, recipe.training_for(name)) for name in NAMES]
    together = train_experts(answers, wanted, recipe.method, tmp_path / "together", label="", quiet=True)
    rows = {name: len(answers.train[name]) for name in NAMES}
    assert together["first"].outcome.steps == round(2.5 * rows["first"] / 4)
    assert together["second"].outcome.steps == 7
    for one in wanted:
        alone = train_experts(answers, [one], recipe.method, tmp_path / one.name, label="", quiet=True)[one.name]
        for key, tensor in alone.best().items():
            torch.testing.assert_close(together[one.name].best()[key], tensor, rtol=1e-4, atol=1e-5)
    same = go(answers, tmp_path / "same", ["second"])["second"]
    assert same.outcome.steps != 7


def test_a_module_as_wide_as_the_backbone_is_trained_alone(make: Make) -> None:
    answers = make()
    assert experts._bank_size(answers, {"name": "lora", "rank": 1}) > 1
    assert experts._bank_size(answers, {"name": "full"}) == 1


def test_parts_of_a_step_change_nothing_but_memory(make: Make, tmp_path: Path) -> None:
    parts = make().objective({name: name for name in NAMES})
    tasks, rows = np.repeat([0, 1, 2], 4), np.tile(np.arange(4), 3)
    found = parts.parts(tasks, rows, 40, 3)
    assert len(found) > 2
    assert sorted(np.concatenate(found).tolist()) == list(range(12))
    for part in found:
        assert len(part) == 1 or len(part) * (parts.positions(tasks[part], rows[part])[0] + 3) <= 40
    assert len(parts.parts(tasks, rows, 10_000, 3)) == 1
    whole = go(make(part_positions=None), tmp_path / "whole", NAMES)
    for name, expert in go(make(part_positions=30), tmp_path / "parts", NAMES).items():
        torch.testing.assert_close(expert.best()["prompt"], whole[name].best()["prompt"], rtol=1e-4, atol=1e-5)


def test_experts_of_one_task_see_the_same_rows_and_start_with_the_same_head(make: Make, tmp_path: Path) -> None:
    answers = make()
    start = {"prompt": torch.full((3, 24), 0.1)}
    recipe = answers.recipe
    wanted = [Wanted(name, "second", recipe.training, start, ("first",)) for name in ("x", "a much longer name")]
    found = train_experts(answers, wanted, recipe.method, tmp_path, label="", quiet=True)
    one, other = (found[one.name] for one in wanted)
    assert one.outcome.parents == ("first",)
    for key, tensor in one.best().items():
        torch.testing.assert_close(other.best()[key], tensor, rtol=1e-4, atol=1e-5)


def test_the_best_step_is_kept_and_the_embedding_is_of_a_tenth_of_the_run(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = make(steps=20, score_every=1)
    scores = iter(range(1000))
    curve = {2: 50.0, 4: 80.0, 6: 80.0, 8: 10.0}
    seen: dict[int, torch.Tensor] = {}

    def scored(model: Any, expert: int, task: str) -> float:
        step = 2 * (next(scores) + 1)
        seen[step] = model.bank.stack.expert("first")["prompt"]
        return curve.get(step, 0.0)

    monkeypatch.setattr(answers, "dev_score", scored)
    found = go(answers, tmp_path, ["first"])["first"]
    assert (found.outcome.chosen_step, found.outcome.early_step, found.outcome.dev) == (4, 2, 80.0)
    assert torch.equal(found.best()["prompt"], seen[4])
    assert torch.equal(found.early()["prompt"], seen[2])


def test_a_stopped_run_goes_on_and_ends_alike(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = make(score_every=2)
    whole = go(answers, tmp_path / "whole", NAMES, bank_size=2)
    plain, calls = answers.dev_score, iter(range(100))

    def stopped(model: Any, expert: int, task: str) -> float:
        if next(calls) == 7:
            raise KeyboardInterrupt
        return plain(model, expert, task)

    monkeypatch.setattr(answers, "dev_score", stopped)
    with pytest.raises(KeyboardInterrupt):
        go(answers, tmp_path / "stopped", NAMES, bank_size=2)
    monkeypatch.setattr(answers, "dev_score", plain)
    for name, expert in go(answers, tmp_path / "stopped", NAMES, bank_size=2).items():
        assert expert.outcome.dev_curve == whole[name].outcome.dev_curve
        for key, tensor in expert.best().items():
            assert torch.equal(tensor, whole[name].best()[key])


def test_a_bank_that_is_stopped_while_its_experts_are_written_is_not_trained_again(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, steps = make(), []
    whole = go(answers, tmp_path / "whole", NAMES)

    def stopped(model: Any, expert: int, task: str) -> Any:
        if task == "second":
            raise KeyboardInterrupt
        return HeadAnswering.answers(answers, model, expert, task)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(answers, "answers", stopped)
        with pytest.raises(KeyboardInterrupt):
            go(answers, tmp_path / "stopped", NAMES)
    before = (tmp_path / "stopped/first/result/expert.json").stat().st_mtime_ns
    monkeypatch.setattr(HeadObjective, "collate", lambda *_: steps.append(1))
    found = go(answers, tmp_path / "stopped", NAMES)
    assert not steps
    assert (tmp_path / "stopped/first/result/expert.json").stat().st_mtime_ns == before
    for name, expert in found.items():
        assert torch.equal(expert.best()["prompt"], whole[name].best()["prompt"])
    assert sorted(path.name for path in (tmp_path / "stopped").iterdir()) == NAMES


def test_what_is_trained_is_not_trained_again(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = make()
    first = go(answers, tmp_path, NAMES[:2])
    monkeypatch.setattr(experts, "train", lambda *_: pytest.fail("trained again"))
    again = go(answers, tmp_path, NAMES[:2])
    assert {name: one.outcome for name, one in again.items()} == {name: one.outcome for name, one in first.items()}


def test_rows_to_choose_by_are_not_trained_on(word_suite: str) -> None:
    task = load_suite(word_suite).tasks["first"]
    split = divide(task, None, 100)
    assert (len(split.train), len(split.dev)) == (32, 8)  # at most a fifth
    assert not {id(row) for row in split.train} & {id(row) for row in split.dev}
    assert divide(task, 10, 6).train == [row for row in divide(task, 12, 6).train if row in divide(task, 10, 6).train]
    assert len(divide(task, 10, 6).train) == 10


def test_unlabelled_text_is_its_inputs_continued(make: Make) -> None:
    answers = make("t5")
    answers.add_text(["first", "second"])  # type: ignore[attr-defined]
    rows = answers.train["text"]
    assert len(rows) == len(answers.train["first"]) + len(answers.train["second"])
    assert isinstance(answers.objective({"text": "text"}, shared=True), TextObjective)
