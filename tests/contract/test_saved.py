"""Promise 6: saved = loaded, bit for bit; an expert leaves and enters a bank alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.contract.conftest import NAMES, Case

from multigraft.errors import UserError
from multigraft.methods.base import method_record, parse_method


def test_an_expert_moves_to_another_bank(case: Case, tmp_path: Path) -> None:
    backbone = case.backbone()
    first, second = case.bank(backbone), case.bank(backbone, ["x", "y"], noise=0.1)
    save_file(first.stack.expert("c"), tmp_path / "c.safetensors")
    others = second.stack.values.detach().clone()
    tensors = load_file(tmp_path / "c.safetensors")
    second.stack.add("c", tensors)
    assert second.stack.names == ["x", "y", "c"]
    assert torch.equal(second.stack.values[:2], others)
    assert torch.equal(second.stack.values[2], first.stack.values[NAMES.index("c")])
    second.stack.load_expert("x", tensors)
    assert torch.equal(second.stack.values[0], second.stack.values[2])
    assert torch.equal(second.stack.values[1], others[1])
    with torch.no_grad():
        with first.rows([2], None, case.mask):
            expected = case.run(backbone)
        with second.rows([2], None, case.mask):
            assert torch.equal(case.run(backbone), expected)


def test_an_expert_leaves_alone(plain_case: Case) -> None:
    backbone = plain_case.backbone()
    bank = plain_case.bank(backbone)
    before = bank.stack.values.detach().clone()
    with torch.no_grad(), bank.rows([3], None, plain_case.mask):
        expected = plain_case.run(backbone)
    bank.stack.remove("b")
    assert bank.stack.names == ["a", "c", "d"]
    assert torch.equal(bank.stack.values, before[[0, 2, 3]])
    with torch.no_grad(), bank.rows([bank.stack.index("d")], None, plain_case.mask):
        assert torch.equal(plain_case.run(backbone), expected)
    bank.stack.add("b")
    fresh = plain_case.bank(backbone, noise=0.0)
    assert torch.equal(bank.stack.values[3], fresh.stack.values[1])


def test_a_bank_is_its_state_dict(plain_case: Case, tmp_path: Path) -> None:
    backbone = plain_case.backbone()
    bank, other = plain_case.bank(backbone), plain_case.bank(backbone, noise=0.0)
    save_file(bank.state_dict(), tmp_path / "bank.safetensors")
    other.load_state_dict(load_file(tmp_path / "bank.safetensors"))
    assert torch.equal(other.stack.values, bank.stack.values)
    assert parse_method(method_record(bank.method)) == bank.method


def test_a_fresh_expert_depends_on_seed_and_name_only(plain_case: Case) -> None:
    backbone = plain_case.backbone()
    bank = plain_case.bank(backbone, noise=0.0)
    alone = plain_case.bank(backbone, ["c"], noise=0.0)
    assert torch.equal(alone.stack.values[0], bank.stack.values[2])
    if any(spec.std for spec in bank.stack.specs.values()):
        assert not torch.equal(bank.stack.values[0], bank.stack.values[1])


def test_foreign_tensors_are_refused(plain_case: Case) -> None:
    if not plain_case.changes:
        return
    bank = plain_case.bank(plain_case.backbone())
    tensors, before = bank.stack.expert("a"), bank.stack.values.detach().clone()
    name = next(iter(tensors))
    wrong = [
        {**tensors, name: torch.zeros(2, *tensors[name].shape)},  # another shape
        {key: value for key, value in tensors.items() if key != name},  # one missing
        {**tensors, "other": torch.zeros(3)},  # one too many
        {},
    ]
    for given in wrong:
        with pytest.raises(UserError, match="expert a"):
            bank.stack.load_expert("a", given)
        with pytest.raises(UserError, match="expert e"):
            bank.stack.add("e", given)
    with pytest.raises(UserError, match="already"):
        bank.stack.add("a")
    with pytest.raises(UserError, match="unknown expert 'e'"):
        bank.stack.remove("e")
    assert torch.equal(bank.stack.values, before)
    assert bank.stack.names == list(NAMES)
