"""Stacked parameters: how they start, and the view of them that a batch needs."""

from __future__ import annotations

import pytest
import torch

from multigraft.errors import UserError
from multigraft.methods.bank import mixed_experts, one_expert
from multigraft.methods.stack import Spec, Stack

SPECS = {"w": Spec((2, 3), std=0.5), "gain": Spec((4,), fill=1.0), "scale": Spec(())}


def test_the_start() -> None:
    stack = Stack(SPECS, ["a", "b"], seed=0)
    a = stack.expert("a")
    assert stack.width == 11
    assert torch.equal(a["gain"], torch.ones(4))
    assert a["scale"].shape == ()
    assert a["w"].shape == (2, 3)
    assert not torch.equal(a["w"], stack.expert("b")["w"])
    assert not torch.equal(a["w"], Stack(SPECS, ["a"], seed=1).expert("a")["w"])
    assert stack.decayed().tolist() == [True] * 6 + [False] * 5


def test_the_spread_of_the_start() -> None:
    values = Stack({"w": Spec((100, 100), std=0.5, fill=2.0)}, ["a"], seed=0).values
    assert values.mean().item() == pytest.approx(2.0, abs=0.02)
    assert values.std().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("rows", [[1, 1], [0, 2, 1, 0], [2, 0, 2]])
def test_each_row_gets_its_own_tensors(rows: list[int]) -> None:
    stack = Stack(SPECS, ["a", "b", "c"], seed=0)
    experts, local = mixed_experts(torch.tensor(rows))
    weights = stack.select(experts, local)
    for name in ("w", "gain"):
        if len(set(rows)) == 1:
            assert torch.equal(weights[name], stack.expert("b")[name])
            continue
        for row, expert in enumerate(rows):
            assert torch.equal(weights[name][row], stack.expert("abc"[expert])[name])


def test_experts_of_a_batch() -> None:
    assert one_expert(3) == ([3], None)
    assert mixed_experts(torch.tensor([5, 5])) == ([5], None)
    experts, local = mixed_experts(torch.tensor([7, 2, 7]))
    assert experts == [2, 7]
    assert local is not None
    assert local.tolist() == [1, 0, 1]


def test_an_unknown_expert() -> None:
    with pytest.raises(UserError, match="unknown expert 'sstt'; did you mean 'sst'"):
        Stack(SPECS, ["sst"], seed=0).expert("sstt")


def test_what_is_handed_out_is_a_copy() -> None:
    stack = Stack(SPECS, ["a"], seed=0)
    stack.expert("a")["gain"].zero_()
    assert torch.equal(stack.expert("a")["gain"], torch.ones(4))
