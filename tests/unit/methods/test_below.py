from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.tiny import TINY_FAMILIES, TINY_TEXT_FAMILIES, tiny_backbone, tiny_text_backbone
from multigraft.methods.bank import Bank, mixed_experts
from multigraft.methods.base import parse_method
from multigraft.methods.below import Below

# With the last layer of an encoder of three layers, and of stacks of two; without modules below the heads.
UPPER: dict[str, dict[str, Any]] = {
    "lora": {"name": "lora", "layers": [1, 2], "maps": ["q", "v", "up", "down"]},
    "pal": {"name": "pal", "layers": [2]},
    "adapter": {"name": "adapter", "layers": [2]},
    "top_layer": {"name": "top_layer"},
    "heads_only": {"name": "heads_only"},
}
SPLIT = [family for family in TINY_TEXT_FAMILIES if family not in ("t5", "mt5")]


def reads_of(backbone: Backbone) -> dict[str, Tensor]:
    torch.manual_seed(0)
    mask = (torch.arange(8) < torch.tensor([[8], [5], [3], [6]])).long()
    reads = {"input_ids": torch.randint(5, 60, (4, 8)), "attention_mask": mask}
    if backbone.family.model_types[0] == "bert":
        reads["token_type_ids"] = (torch.arange(8) > 4).long().expand(4, 8)
    return reads


def output(backbone: Backbone, reads: Mapping[str, Tensor]) -> Tensor:
    if not backbone.writes:
        return backbone.model(**reads).last_hidden_state  # type: ignore[no-any-return]
    if backbone.family.kind == "decoder":
        return backbone.model(**reads, use_cache=False).logits  # type: ignore[no-any-return]
    states = backbone.model.get_encoder()(**reads, return_dict=True)  # type: ignore[operator]
    return backbone.model(  # type: ignore[no-any-return]
        encoder_outputs=states, attention_mask=reads["attention_mask"], decoder_input_ids=reads["input_ids"][:, :5]
    ).logits


def assert_goes_on(backbone: Backbone, method: Mapping[str, Any]) -> None:
    """From kept states a mixed batch gives what it gives from the beginning, and nothing below runs."""
    reads, chosen = reads_of(backbone), parse_method(method)
    bank = Bank(chosen, backbone, ["a", "b", "c"]).eval()
    with torch.no_grad():
        bank.stack.values.normal_(std=0.3)
    first = chosen.first_layer(backbone)
    below = Below(backbone, first)
    assert below.splits(reads)
    states = below.states(reads).clone()
    # Padding may have any states.
    states[~reads["attention_mask"].bool()] = states[0, 0].clone()
    rows = bank.rows(*mixed_experts(torch.tensor([2, 0, 0, 1])), reads["attention_mask"])
    with torch.no_grad():
        with rows:
            wanted = output(backbone, reads)
        ran = watch(backbone)
        rows = bank.rows(*mixed_experts(torch.tensor([2, 0, 0, 1])), reads["attention_mask"])
        with rows, below.known(states):
            found = output(backbone, reads)
    seen = slice(None) if backbone.family.kind == "encoder_decoder" else reads["attention_mask"].bool()
    torch.testing.assert_close(found[seen], wanted[seen], rtol=1e-4, atol=1e-5)
    assert ran == set(range(first, backbone.depth))


def watch(backbone: Backbone) -> set[int]:
    """Which layers run from now on."""
    ran: set[int] = set()
    for i in range(backbone.depth):
        for module in backbone.layer(i).modules():
            if "Norm" in type(module).__name__:
                module.register_forward_hook(lambda *_, i=i: ran.add(i))
    return ran


@pytest.mark.parametrize("family", TINY_FAMILIES)
@pytest.mark.parametrize("name", UPPER)
def test_an_encoder_goes_on_from_kept_states(family: str, name: str) -> None:
    assert_goes_on(tiny_backbone(family), UPPER[name])


@pytest.mark.parametrize("family", SPLIT)
def test_a_text_model_goes_on_from_kept_states(family: str) -> None:
    backbone = tiny_text_backbone(family)
    assert_goes_on(backbone, {"name": "lora", "layers": list(range(1, backbone.depth))})


@pytest.mark.parametrize("family", ["t5", "mt5", "bart", "encoder-decoder"])
def test_an_encoder_without_modules_is_kept_as_a_whole(family: str) -> None:
    assert_goes_on(tiny_text_backbone(family), {"name": "lora", "layers": "decoder"})


def test_layers_that_hand_on_more_than_states_are_not_parted() -> None:
    backbone = tiny_text_backbone("t5")
    assert not Below(backbone, 1).splits(reads_of(backbone))


@pytest.mark.parametrize(("family", "layers"), [("bert", [2]), ("mpnet", [1]), ("t5", "decoder")])
def test_the_backbone_is_as_before(family: str, layers: object) -> None:
    backbone = tiny_text_backbone(family) if family == "t5" else tiny_backbone(family)
    backbone.layer(0).forward = backbone.layer(0).forward  # as others do who put something around it
    before = [dict(vars(module)) for module in backbone.model.modules()]
    reads, fingerprint = reads_of(backbone), backbone.weights_fingerprint()
    below = Below(backbone, parse_method({"name": "lora", "layers": layers}).first_layer(backbone))
    assert below.splits(reads)
    with pytest.raises(KeyError), below.known(below.states(reads)):
        raise KeyError
    for one, module in zip(before, backbone.model.modules(), strict=True):
        other = vars(module)
        assert one.keys() == other.keys()
        assert one.get("forward") is other.get("forward")
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert backbone.weights_fingerprint() == fingerprint
