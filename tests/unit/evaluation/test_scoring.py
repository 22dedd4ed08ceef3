from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from multigraft.backbones.tiny import tiny_backbone
from multigraft.batching.collate import collate
from multigraft.batching.encode import Encoded, encode
from multigraft.evaluation import scoring
from multigraft.evaluation.scoring import predict, predict_tasks, score_tasks, targets
from multigraft.library.model_folder import build_model
from multigraft.methods.joint import JointModel
from multigraft.tasks.suite import load_suite
from multigraft.tasks.task import Task

NAMES = ("feeling", "amount", "pick", "animal")


@pytest.fixture(scope="module")
def tasks(tiny_suite: str) -> dict[str, Task]:
    return load_suite(tiny_suite).subset(NAMES).tasks


@pytest.fixture(scope="module")
def data(tasks: Mapping[str, Task]) -> dict[str, Encoded]:
    tokenizer = tiny_backbone().tokenizer
    return {name: encode(task, task.examples("train"), tokenizer, 40) for name, task in tasks.items()}


@pytest.fixture(scope="module")
def model(tasks: Mapping[str, Task]) -> JointModel:
    """A model whose experts and heads are drawn wide, so that answers differ."""
    model = build_model(
        tiny_backbone(dropout=0.2), list(tasks.values()), "pal", pooling="mean", pooler="none", tuned=True, seed=0
    )
    with torch.no_grad():
        generator = torch.Generator().manual_seed(3)
        for stack in (model.bank.stack, model.heads.stack):
            stack.values += 0.5 * torch.randn(stack.values.shape, generator=generator)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_batches_by_length_answer_as_row_by_row(
    model: JointModel, data: Mapping[str, Encoded], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "ROWS", 7)
    expert = NAMES.index(name)
    found = predict(model, data[name], expert, "fp32")
    alone = []
    with torch.no_grad():
        for row in range(len(data[name])):
            scores = model(collate(list(data.values()), [expert], [row], model.backbone.pad_id))[0]
            alone.append(float(scores[0]) if name == "amount" else int(scores.argmax()))
    if name == "amount":
        np.testing.assert_allclose(found, alone, atol=1e-5)
    else:
        assert found.tolist() == alone
    assert len(set(alone)) > 1
    assert not model.training


def test_targets_are_in_the_order_of_the_rows(tasks: Mapping[str, Task], data: Mapping[str, Encoded]) -> None:
    for name, task in tasks.items():
        wanted = [example.target for example in task.examples("train")]
        if name == "amount":
            wanted = [(float(number) - 1) / 4 for number in wanted]
        np.testing.assert_allclose(targets(data[name]), wanted, atol=1e-6)


def test_each_task_is_scored_by_its_own_metric(
    tasks: Mapping[str, Task], data: Mapping[str, Encoded], model: JointModel
) -> None:
    right = {name: targets(rows) for name, rows in data.items()}
    assert score_tasks(list(tasks.values()), right, data) == pytest.approx(dict.fromkeys(NAMES, 100.0))
    turned = right | {"amount": -right["amount"], "feeling": 1 - right["feeling"]}
    scores = score_tasks(list(tasks.values()), turned, data)
    assert scores["amount"] == pytest.approx(-100)
    assert scores["feeling"] == 0
    predictions = predict_tasks(model, data, "fp32")
    by_hand = np.mean(predictions["pick"] == data["pick"].target_class) * 100
    assert score_tasks(list(tasks.values()), predictions, data)["pick"] == pytest.approx(by_hand)


def test_a_task_is_answered_by_its_own_expert(model: JointModel, data: Mapping[str, Encoded]) -> None:
    wanted: Callable[[str], np.ndarray] = lambda name: predict(model, data[name], NAMES.index(name), "fp32")  # noqa: E731
    found = predict_tasks(model, {name: data[name] for name in reversed(NAMES)}, "fp32")
    assert list(found) == list(reversed(NAMES))
    assert all(np.array_equal(found[name], wanted(name)) for name in NAMES)
