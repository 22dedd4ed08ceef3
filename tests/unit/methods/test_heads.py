"""Heads of different widths side by side."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from multigraft.backbones.tiny import tiny_backbone
from multigraft.errors import UserError
from multigraft.methods.heads import Heads, pool

OUTPUTS = {"a": 3, "b": 1, "c": 5}
BERT, DISTILBERT = tiny_backbone("bert"), tiny_backbone("distilbert")
POOLED = torch.randn(4, 24, generator=torch.Generator().manual_seed(0))


def test_pooling() -> None:
    hidden = torch.arange(24.0).view(2, 4, 3)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    assert torch.equal(pool(hidden, mask, "first"), hidden[:, 0])
    torch.testing.assert_close(pool(hidden, mask, "mean"), torch.stack([hidden[0].mean(0), hidden[1, :2].mean(0)]))


@pytest.mark.parametrize("pooler", ["shared", "per_task", "none"])
def test_values_by_hand(pooler: Any) -> None:
    heads = Heads(BERT, OUTPUTS, pooler=pooler)
    with torch.no_grad():
        for name in OUTPUTS:
            heads.load_expert(name, {k: v + 0.1 * len(k) for k, v in heads.expert(name).items()})
        values = heads(POOLED, [0, 1, 2], torch.tensor([2, 0, 1, 2]))
        for row, name in enumerate(("c", "a", "b", "c")):
            own, x = heads.expert(name), POOLED[row]
            if pooler == "shared":
                assert heads.pooler is not None
                x = torch.tanh(heads.pooler(x))
            elif pooler == "per_task":
                x = torch.tanh(own["pooler.weight"] @ x + own["pooler.bias"])
            expected = own["weight"] @ x + own["bias"]
            assert len(expected) == OUTPUTS[name]
            torch.testing.assert_close(values[row, : OUTPUTS[name]], expected)
            alone = heads(POOLED[row : row + 1], [list(OUTPUTS).index(name)], None)
            torch.testing.assert_close(alone[0], values[row])
            assert not values[row, OUTPUTS[name] :].any()


@pytest.mark.parametrize("backbone", [BERT, DISTILBERT], ids=["pretrained pooler", "no pooler"])
@pytest.mark.parametrize("pooler", ["shared", "per_task", "none"])
def test_a_head_starts_as_it_does_without_the_others(backbone: Any, pooler: Any) -> None:
    together = Heads(backbone, OUTPUTS, pooler=pooler, seed=4)
    for name, c in OUTPUTS.items():
        alone = Heads(backbone, {name: c}, pooler=pooler, seed=4)
        for key, value in alone.expert(name).items():
            assert torch.equal(together.expert(name)[key], value), key
        if pooler == "shared":
            assert together.pooler is not None
            assert alone.pooler is not None
            assert torch.equal(together.pooler.weight, alone.pooler.weight)
    other = Heads(backbone, OUTPUTS, pooler=pooler, seed=5)
    assert not torch.equal(other.expert("a")["weight"], together.expert("a")["weight"])


def test_poolers_start_from_the_pretrained_one() -> None:
    assert BERT.pooler is not None
    shared, own = Heads(BERT, OUTPUTS, pooler="shared"), Heads(BERT, OUTPUTS, pooler="per_task")
    assert shared.pooler is not None
    assert torch.equal(shared.pooler.weight, BERT.pooler.weight)
    assert shared.pooler.weight is not BERT.pooler.weight
    for name in OUTPUTS:
        assert torch.equal(own.expert(name)["pooler.weight"], BERT.pooler.weight)
        assert torch.equal(own.expert(name)["pooler.bias"], BERT.pooler.bias)


def test_a_head_is_saved_without_padding_and_loaded_bit_for_bit() -> None:
    first, second = Heads(BERT, OUTPUTS, seed=1), Heads(BERT, {"x": 2, "a": 3}, seed=2)
    second.load_expert("a", first.expert("a"))
    assert first.expert("a")["weight"].shape == (3, 24)
    assert all(torch.equal(second.expert("a")[key], value) for key, value in first.expert("a").items())
    assert first.size("b") == 25
    before = first.stack.values.detach().clone()
    for name in ("b", "c"):
        with pytest.raises(UserError, match=f"expert {name}"):
            first.load_expert(name, first.expert("a"))
    assert torch.equal(first.stack.values, before)


def test_computed_in_float32_under_autocast() -> None:
    heads = Heads(BERT, OUTPUTS)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        values = heads(POOLED, [0], None)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, heads(POOLED, [0], None), rtol=0, atol=0)
