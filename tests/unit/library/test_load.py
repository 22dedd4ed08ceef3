"""What does not belong into one bank, or onto a backbone, is refused in one line that says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from multigraft.backbones.load import Backbone
from multigraft.backbones.tiny import tiny_backbone, tiny_text_backbone
from multigraft.errors import UserError
from multigraft.library.card import Card, tokenizer_fingerprint
from multigraft.library.load import load_experts, load_joint
from multigraft.library.store import Library
from multigraft.methods.bank import Bank
from multigraft.methods.base import method_record, parse_method

MakeCard = Callable[..., Card]
LORA = {"name": "lora", "rank": 2, "layers": "final_half"}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone("bert")


@pytest.fixture
def add(memory_folder: Path, make_card: MakeCard) -> Callable[..., Library]:
    """Adds an expert of a method and a backbone to one library, and gives the library."""
    library = Library.create(memory_folder / "library")

    def add(name: str, made_of: Any, backbone: Backbone, **changes: Any) -> Library:
        bank = Bank(parse_method(made_of), backbone, [name])
        bank.detach()
        card = {
            "method": method_record(bank.method), "backbone": backbone.name,
            "backbone_fingerprint": backbone.fingerprint,
            "tokenizer_fingerprint": tokenizer_fingerprint(backbone.tokenizer), **changes,
        }  # fmt: skip
        library.add(name, bank.stack.expert(name), make_card(**card), replace=True)
        return library

    return add


def refused(library: Library, names: list[str], backbone: Backbone) -> str:
    """What loading says; nothing stays on the backbone."""
    with pytest.raises(UserError) as error:
        load_experts(library, names, backbone)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in backbone.model.modules())
    return str(error.value)


def test_another_backbone_is_refused_with_both_fingerprints(add: Callable[..., Library], backbone: Backbone) -> None:
    library, other = add("a", LORA, backbone), tiny_backbone("bert", seed=1)
    said = refused(library, ["a"], other)
    assert backbone.fingerprint in said
    assert other.fingerprint in said
    library = add("a", LORA, backbone, backbone_fingerprint="0" * 64)
    assert f"fingerprint {'0' * 64}, 'tiny-bert' has {backbone.fingerprint}" in refused(library, ["a"], backbone)
    library = add("a", LORA, backbone, tokenizer_fingerprint="1" * 64)
    assert f"a tokenizer with fingerprint {'1' * 64}" in refused(library, ["a"], backbone)


def test_a_backbone_that_was_trained_meanwhile_is_another(add: Callable[..., Library]) -> None:
    backbone = tiny_backbone("bert")
    library, before = add("a", LORA, backbone), backbone.fingerprint
    with torch.no_grad():
        next(backbone.model.parameters()).add_(1)
    said = refused(library, ["a"], backbone)
    assert before in said
    assert backbone.weights_fingerprint() in said


def test_another_method_is_refused(add: Callable[..., Library], backbone: Backbone) -> None:
    add("a", LORA, backbone)
    add("narrow", {"name": "lhuc"}, backbone)
    library = add("b", {**LORA, "alpha": 3.0}, backbone)
    assert "expert narrow: its method has name 'lhuc', that of 'a' 'lora'" in refused(
        library, ["a", "narrow"], backbone
    )
    assert "expert b: its method has alpha 3.0, that of 'a' 16.0" in refused(library, ["a", "b"], backbone)
    add("new", LORA, backbone, method={"name": "none"})
    assert "unknown method 'none'" in refused(library, ["new"], backbone)
    add("old", LORA, backbone, method={**LORA, "rank": 3})
    assert "expert old: tensor" in refused(library, ["old"], backbone)
    assert "expected names of experts, each once" in refused(library, ["a", "a"], backbone)
    assert "expected names" in refused(library, [], backbone)


def test_what_matters_in_training_only_may_differ(add: Callable[..., Library], backbone: Backbone) -> None:
    add("a", LORA, backbone)
    library = add("b", {**LORA, "dropout": 0.5}, backbone)
    bank = load_experts(library, ["b", "a"], backbone)
    assert bank.stack.names == ["b", "a"]
    bank.detach()


def test_prompts_of_several_lengths_go_into_one_bank(add: Callable[..., Library]) -> None:
    backbone = tiny_text_backbone("t5")
    add("short", {"name": "soft_prompt", "length": 2}, backbone)
    add("long", {"name": "soft_prompt", "length": 5, "init": "random"}, backbone)
    library = add("told", {"name": "soft_prompt", "length": 3, "init": "text", "text": "a cat"}, backbone)
    bank = load_experts(library, ["short", "long", "told"], backbone)
    assert bank.stack.lengths == [2, 5, 3]
    assert bank.method.positions == 5
    for name in bank.stack.names:
        assert torch.equal(bank.stack.expert(name)["prompt"], library.get(name).tensors()["prompt"])
    bank.detach()


def test_without_a_head_there_is_no_answer(add: Callable[..., Library], backbone: Backbone) -> None:
    with pytest.raises(UserError, match="expert a: has no head; load it without heads"):
        load_joint(add("a", LORA, backbone), ["a"], backbone)
