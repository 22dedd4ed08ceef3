"""Many tasks on one text, and many tasks in one batch, give what each task gives alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.contract.conftest import ROWS, TASKS, UNFIT, Case, MakeJoint, encoded_tasks, make_method
from torch import Tensor

from multigraft.backbones.tiny import TINY_FAMILIES
from multigraft.batching.collate import collate
from multigraft.methods.base import METHODS, LayerMethod, Method
from multigraft.methods.fanout import fork
from multigraft.methods.front import PromptMethod
from multigraft.methods.heads import pool
from multigraft.methods.joint import JointModel
from multigraft.training.objective import row_losses

PLACES: list[tuple[dict[str, Any], int]] = [
    ({}, 0),
    ({"layers": "first_half"}, 0),
    ({"layers": "final_half"}, 1),
    ({"layers": [2]}, 2),
]
ON_TOP: list[tuple[dict[str, Any], int]] = [({}, 3)]
IN_FRONT: list[tuple[dict[str, Any], int]] = [({}, 0), ({"length": 1}, 0)]


def choices_of(method: type[Method]) -> list[tuple[dict[str, Any], int]]:
    """Settings, and the lowest layer that must know the task."""
    if issubclass(method, PromptMethod):
        return IN_FRONT
    return PLACES if issubclass(method, LayerMethod) else ON_TOP


CHOICES = [(name, *choice) for name, method in METHODS.all().items() for choice in choices_of(method)]


def answers_one_by_one(model: JointModel, ids: Tensor, mask: Tensor, experts: list[int]) -> Tensor:
    """K passes of the whole encoder: K B C."""
    values = []
    for expert in experts:
        with model.bank.rows([expert], None, mask):
            hidden = model.encode(ids, mask, None)
        values.append(model.heads(pool(hidden, mask, model.pooling), [expert], None))
    return torch.stack(values)


@pytest.mark.parametrize("family", TINY_FAMILIES)
@pytest.mark.parametrize(("name", "settings", "first"), CHOICES)
def test_fan_out_is_the_plain_way(
    name: str, settings: dict[str, Any], first: int, family: str, make_joint: MakeJoint
) -> None:
    if (name, family) in UNFIT:
        return
    case = Case(make_method(name, settings), family)
    model = make_joint(case, pooling="mean" if first == 1 else "first")
    assert model.bank.method.first_layer(model.backbone) == first
    runs = [0] * model.backbone.depth
    handles = []
    for index in range(model.backbone.depth):

        def count(_: Any, args: Any, kwargs: Any, index: int = index) -> None:
            runs[index] += (args[0] if args else kwargs["hidden_states"]).shape[0]

        handles.append(model.backbone.layer(index).register_forward_pre_hook(count, with_kwargs=True))
    experts = [3, 0, 2]
    with torch.no_grad():
        found = model.answer_all(case.ids, case.mask, None, experts)
        for handle in handles:
            handle.remove()
        # The point of it: rows into each layer; where the fork is inside the first one, that one gets few too.
        last_shared = first - (fork(model.backbone, model.bank.method).kind in ("embeddings", "layer_input"))
        assert runs == [4 if index <= last_shared else 12 for index in range(3)]
        torch.testing.assert_close(found, answers_one_by_one(model, case.ids, case.mask, experts))
        one = model.answer_all(case.ids[:1], case.mask[:1], None, experts)
        torch.testing.assert_close(one, found[:, :1])
        torch.testing.assert_close(model.answer_all(case.ids, case.mask, None, [2]), found[2:])


@pytest.mark.parametrize("pooler", ["shared", "per_task", "none"])
def test_tasks_in_one_batch_are_answered_as_alone(plain_case: Case, pooler: Any, make_joint: MakeJoint) -> None:
    # Three options, a number, options that come with the row, two options.
    model, data = make_joint(plain_case, pooler=pooler), encoded_tasks()
    tasks, rows = [3, 0, 2, 1, 2, 0, 1], [1, 4, 0, 2, 5, 0, 7]
    with torch.no_grad():
        batch = collate(data, tasks, rows, 0)
        scores = model(batch)
        losses = row_losses(scores, batch)
        assert bool(torch.isfinite(losses).all())
        for b, (task, row) in enumerate(zip(tasks, rows)):
            alone = collate(data, [task], [row], 0)
            own = model(alone)
            options = max(1, int(alone.choices[0]))
            torch.testing.assert_close(scores[b, :options], own[0, :options])
            assert bool(torch.isfinite(own[0, :options]).all())
            assert bool((scores[b, options:] == -torch.inf).all())
            torch.testing.assert_close(losses[b], row_losses(own, alone)[0])


def test_the_rows_have_all_kinds_of_answers() -> None:
    data = encoded_tasks()
    assert [len(part) for part in data] == [ROWS] * len(TASKS)
    assert [part.by_row for part in data] == [False, False, True, False]
    assert set(data[2].choices.tolist()) == {2, 3, 4}
    assert len({int(length) for part in data for length in part.lengths}) > 4


def test_a_frozen_backbone_gets_no_gradient(plain_case: Case, make_joint: MakeJoint) -> None:
    model, data = make_joint(plain_case), encoded_tasks()
    model.train()
    assert not model.encoder.training
    batch = collate(data, [0, 1, 2], [0, 1, 2], 0)
    row_losses(model(batch), batch).sum().backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    assert model.heads.pooler is not None
    assert all(parameter.grad is None for parameter in model.heads.pooler.parameters())
    gradients = [model.heads.stack.values.grad, *([model.bank.stack.values.grad] if plain_case.changes else [])]
    for gradient in gradients:
        assert gradient is not None
        assert gradient[:3].abs().amax(1).min() > 0
        assert not gradient[3].any()
