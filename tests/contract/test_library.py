"""Every method: an expert leaves a bank for a library and enters another bank, bit for bit."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from multigraft.backbones.load import Backbone
from multigraft.backbones.tiny import tiny_backbone, tiny_text_backbone
from multigraft.errors import UserError
from multigraft.library.card import Card, tokenizer_fingerprint
from multigraft.library.load import load_experts
from multigraft.library.store import Library
from multigraft.methods.bank import Bank, one_expert
from multigraft.methods.base import METHODS, Method, method_record, parse_method

IDS = torch.randint(5, 60, (2, 7), generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(IDS)
# Settings that fit a tiny backbone, for methods whose defaults do not.
SETTINGS: dict[str, dict[str, Any]] = {"soft_prompt": {"length": 3, "init": "random"}, "p_tuning": {"length": 3},
                                       "prefix_tuning": {"length": 3}}  # fmt: skip


def small(name: str, backbone: Backbone) -> Method:
    """The method; the test is skipped where it has no place or no parameters."""
    method = parse_method({"name": name, **SETTINGS.get(name, {})})
    try:
        method.check(backbone)
    except UserError as error:
        pytest.skip(str(error))
    if not method.size(backbone):
        pytest.skip(f"{name} has no parameters")
    return method


def hidden(bank: Bank, backbone: Backbone, expert: int) -> torch.Tensor:
    inputs = {"decoder_input_ids": IDS[:, :4]} if backbone.family.kind == "encoder_decoder" else {}
    with torch.inference_mode(), bank.rows(*one_expert(expert), MASK):
        found = backbone.model(input_ids=IDS, attention_mask=MASK, **inputs)
    return found.logits if "logits" in found else found.last_hidden_state


@pytest.mark.parametrize("family", ["bert", "bart"])
@pytest.mark.parametrize("name", METHODS.names())
def test_an_expert_leaves_and_enters_a_bank_by_way_of_a_library(name: str, family: str) -> None:
    backbone = tiny_backbone(family) if family == "bert" else tiny_text_backbone(family)
    method, names = small(name, backbone), ["a", "b", "c"]
    bank = Bank(method, backbone, names).eval()
    torch.nn.init.normal_(bank.stack.values, std=0.1, generator=torch.Generator().manual_seed(1))
    expected = {expert: hidden(bank, backbone, bank.stack.index(expert)) for expert in names}
    bank.detach()
    card = Card(
        task="t", method=method_record(method), backbone=backbone.name, backbone_fingerprint=backbone.fingerprint,
        tokenizer_fingerprint=tokenizer_fingerprint(backbone.tokenizer), data_fingerprint="", template=None, seed=0,
        steps=1, scores={}, licence="", parents=(), versions={},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        library = Library.create(Path(folder) / "library")
        for expert in names:
            library.add(expert, bank.stack.expert(expert), card)
        chosen = ["c", "a"]
        loaded = load_experts(library, chosen, backbone).eval()
    assert loaded.stack.names == chosen
    assert loaded.method == method
    for index, expert in enumerate(chosen):
        assert torch.equal(loaded.stack.values[index], bank.stack.values[names.index(expert)])
        assert torch.equal(hidden(loaded, backbone, index), expected[expert])
    assert not torch.equal(expected["a"], expected["c"])
    loaded.detach()
