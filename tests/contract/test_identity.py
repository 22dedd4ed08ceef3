"""Promise 4: identity at the start where the method promises it; detached = untouched. All bit for bit."""

from __future__ import annotations

import pytest
import torch
from tests.contract.conftest import UNFIT, Case, make_method, shared_backbone

from multigraft.backbones.load import Backbone
from multigraft.backbones.tiny import TINY_FAMILIES
from multigraft.errors import UserError


def hooks_on(backbone: Backbone) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in backbone.model.modules())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_fresh_expert_is_the_identity_where_promised(case: Case, precision: str) -> None:
    backbone = case.backbone()
    bank = case.bank(backbone, noise=0.0).train()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        plain = case.run(backbone)
        with case.mixed(bank):
            mixed = case.run(backbone)
        with bank.rows([1], None, case.mask):
            single = case.run(backbone)
    assert torch.equal(mixed, plain) == case.method.identity
    assert torch.equal(single, plain) == case.method.identity


def test_a_trained_expert_is_not(case: Case) -> None:
    backbone = case.backbone()
    bank, seen = case.bank(backbone), case.mask.bool()
    with torch.no_grad():
        plain = case.run(backbone)
        with case.mixed(bank):
            changed = case.run(backbone)
    differs = (changed - plain).abs().amax(-1)[seen] > 1e-3
    assert bool(differs.all()) == case.changes
    assert bool(differs.any()) == case.changes


def test_outside_its_block_a_bank_does_nothing(plain_case: Case) -> None:
    backbone = plain_case.backbone()
    with torch.no_grad():
        plain = plain_case.run(backbone)
        bank = plain_case.bank(backbone)
        assert torch.equal(plain_case.run(backbone), plain)
        with pytest.raises(ZeroDivisionError), plain_case.mixed(bank):
            _ = 1 / 0
        assert torch.equal(plain_case.run(backbone), plain)


def test_detached_is_untouched(plain_case: Case) -> None:
    backbone = plain_case.backbone()
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    hooks = hooks_on(backbone)
    with torch.no_grad():
        plain = plain_case.run(backbone)
        bank = plain_case.bank(backbone)
        with plain_case.mixed(bank):
            changed = plain_case.run(backbone)
        bank.detach()
        assert hooks_on(backbone) == hooks
        assert torch.equal(plain_case.run(backbone), plain)
        after = backbone.model.state_dict()
        assert list(after) == list(before)
        assert all(torch.equal(after[name], value) for name, value in before.items())
        bank.attach(backbone)
        bank.attach(backbone)  # twice is once
        with plain_case.mixed(bank):
            assert torch.equal(plain_case.run(backbone), changed)


@pytest.mark.parametrize(("method", "family"), sorted(UNFIT))
def test_a_method_without_a_place_says_so(method: str, family: str) -> None:
    with pytest.raises(UserError, match=f"tiny-{family}"):
        make_method(method, {}).specs(shared_backbone(family, torch.float32))


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_banks_may_be_nested(family: str) -> None:
    # Each acts as if the other were part of the backbone.
    inner, outer = Case(make_method("lora", {}), family), Case(make_method("adapter", {}), family)
    backbone = inner.backbone()
    lora, adapter = inner.bank(backbone), outer.bank(backbone)
    try:
        with torch.no_grad():
            with inner.mixed(lora):
                only_lora = inner.run(backbone)
                with outer.mixed(adapter):
                    both = inner.run(backbone)
            shift = lora.stack.values
            shift.zero_()
            with outer.mixed(adapter):
                only_adapter = inner.run(backbone)
            with outer.mixed(adapter), inner.mixed(lora):
                assert torch.equal(inner.run(backbone), only_adapter)
        assert len({tuple(x.flatten().tolist()) for x in (only_lora, only_adapter, both)}) == 3
    finally:
        lora.detach()
        adapter.detach()
