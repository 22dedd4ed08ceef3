"""Promises 2 and 3: together = apart, and what is not drawn does not move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch
from tests.contract.conftest import (
    TASKS,
    Case,
    MakeJoint,
    Training,
    encoded_tasks,
    make_method,
    training_settings,
)
from torch import Tensor

from multigraft.backbones.tiny import tiny_backbone
from multigraft.methods.joint import JointModel

# Tasks and rows of each step: all tasks at once, some of them, one alone.
STEPS: list[tuple[list[int], list[int]]] = [
    ([0, 1, 2, 3, 0], [0, 1, 2, 3, 4]),
    ([2, 2, 0], [5, 1, 6]),
    ([3, 1], [0, 2]),
    ([1, 1, 1], [3, 4, 5]),
    ([3, 0, 2, 1], [7, 1, 0, 6]),
]
NAMES = [task.name for task in TASKS]


def check_together_is_apart(
    case: Case, make_joint: MakeJoint, dtype: torch.dtype, optimizer: str, compared: Sequence[str]
) -> None:
    settings = training_settings(optimizer=optimizer, clip=0.5)
    backbone = case.backbone(dtype)
    together = make_joint(case, backbone=backbone, pooler="per_task")
    start = [together.bank.stack.expert(name) for name in NAMES]
    training = Training(together, encoded_tasks(), settings)
    for tasks, rows in STEPS:
        training.step(tasks, rows)
    together.bank.detach()
    for name in compared:
        index = NAMES.index(name)
        alone = make_joint(case, [name], backbone=backbone, pooler="per_task")
        alone.bank.stack.load_expert(name, start[index])
        own = Training(alone, [encoded_tasks()[index]], settings)
        for tasks, rows in STEPS:
            mine = [row for task, row in zip(tasks, rows) if task == index]
            if mine:
                own.step([0] * len(mine), mine)
        alone.bank.detach()
        moved = together.bank.stack.expert(name)
        torch.testing.assert_close(moved, alone.bank.stack.expert(name))
        torch.testing.assert_close(together.heads.expert(name), alone.heads.expert(name))
        if case.changes:
            assert any(not torch.allclose(moved[key], value, atol=1e-3) for key, value in start[index].items())


def test_together_is_apart(plain_case: Case, make_joint: MakeJoint) -> None:
    # In float64: Adam makes a whole step of a gradient that is nothing but rounding.
    check_together_is_apart(plain_case, make_joint, torch.float64, "adamw", NAMES)


@pytest.mark.parametrize("method", ["heads_only", "low_rank", "adapter", "lhuc"])
def test_together_is_apart_with_adafactor(method: str, make_joint: MakeJoint) -> None:
    # A softmax does not see a bias that all options of a row share, and Adafactor makes steps of rounding too.
    compared = [name for name in NAMES if name != "options"]
    check_together_is_apart(Case(make_method(method, {}), "bert"), make_joint, torch.float32, "adafactor", compared)


def rows_of(training: Training) -> Iterator[tuple[str, Tensor]]:
    """Everything that has one row for each expert: values, optimizer state, step counts."""
    for name, optimizer in training.optimizers.rows.items():
        yield f"{name} values", optimizer.stack.values.detach()
        yield f"{name} count", optimizer.count
        yield from ((f"{name} {key}", tensor) for key, tensor in optimizer.state().items())


def shared_of(model: JointModel) -> dict[str, Tensor]:
    pooler = {} if model.heads.pooler is None else model.heads.pooler.state_dict()
    return {**model.encoder.state_dict(), **pooler}


def check_what_is_not_drawn(case: Case, make_joint: MakeJoint, tuned: bool, optimizer: str) -> None:
    backbone = tiny_backbone(case.family) if tuned else case.backbone()
    model = make_joint(case, backbone=backbone, tuned=tuned)
    training = Training(model, encoded_tasks(), training_settings(optimizer=optimizer))
    for tasks, rows in STEPS:  # so that every expert has momentum
        training.step(tasks, rows)
    before = {name: tensor.clone() for name, tensor in rows_of(training)}
    shared = {name: tensor.clone() for name, tensor in shared_of(model).items()}
    training.step([2, 0, 2], [0, 1, 2])
    training.step([2, 2], [3, 4])
    for name, tensor in rows_of(training):
        assert torch.equal(tensor[[1, 3]], before[name][[1, 3]]), name
        if name.endswith(("values", "count")):
            changed = (tensor != before[name]).view(len(NAMES), -1).any(1)
            assert changed.tolist() == [True, False, True, False], name
    counts = {name: optimizer.count.tolist() for name, optimizer in training.optimizers.rows.items()}
    assert set(map(tuple, counts.values())) == {(4, 4, 5, 3)}
    moved = any(not torch.equal(tensor, shared[name]) for name, tensor in shared_of(model).items())
    assert moved == tuned


@pytest.mark.parametrize("tuned", [False, True], ids=["frozen", "tuned"])
def test_what_is_not_drawn_does_not_move(plain_case: Case, tuned: bool, make_joint: MakeJoint) -> None:
    check_what_is_not_drawn(plain_case, make_joint, tuned, "adamw")


@pytest.mark.parametrize("tuned", [False, True], ids=["frozen", "tuned"])
@pytest.mark.parametrize("method", ["pal", "lora", "lhuc", "heads_only"])
def test_what_is_not_drawn_does_not_move_with_adafactor(method: str, tuned: bool, make_joint: MakeJoint) -> None:
    check_what_is_not_drawn(Case(make_method(method, {}), "bert"), make_joint, tuned, "adafactor")
