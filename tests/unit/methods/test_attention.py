"""Plain attention in training: the same results, and only where it is meant."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from multigraft.backbones.tiny import tiny_backbone, tiny_text_backbone
from multigraft.methods import attention
from multigraft.methods.attention import plain_attention


def kind(model: Any) -> set[str]:
    return {module.config._attn_implementation for module in model.modules() if hasattr(module, "config")}


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta-v2", "modernbert", "bart", "llama", "gpt2", "t5"])
def test_it_gives_the_same_and_leaves_no_trace(family: str) -> None:
    text = family in ("bart", "llama", "gpt2", "t5")
    model: Any = (tiny_text_backbone if text else tiny_backbone)(family).model
    before = kind(model)
    ids = torch.randint(4, 60, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(9) < torch.tensor([[9], [5], [2]])).long()
    inputs = {"input_ids": ids, "attention_mask": mask} | (
        {"decoder_input_ids": ids[:, :4]} if family in ("bart", "t5") else {}
    )

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        found = model(**inputs)
        (found.logits if text else found.last_hidden_state[mask.bool()]).square().mean().backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    fused = gradients()
    with plain_attention(model, 3, 9):
        assert kind(model) == ({"eager"} if before == {"sdpa"} and family != "modernbert" else before)
        plain = gradients()
    assert kind(model) == before
    for one, other in zip(fused, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_it_is_for_training_and_for_what_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_backbone("bert").model
    with torch.no_grad(), plain_attention(model, 3, 9):
        assert kind(model) == {"sdpa"}
    monkeypatch.setattr(
        attention, "ROOM", 6 * 3 * 81 * model.config.num_hidden_layers * model.config.num_attention_heads
    )
    with plain_attention(model, 3, 9):
        assert kind(model) == {"eager"}
    with plain_attention(model, 4, 9):
        assert kind(model) == {"sdpa"}
    with pytest.raises(RuntimeError), plain_attention(model, 1, 1):
        raise RuntimeError
    assert kind(model) == {"sdpa"}
