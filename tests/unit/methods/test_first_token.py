"""Where the heads read the first token only, the last feed-forward runs for it alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from multigraft.backbones.tiny import TINY_FAMILIES, tiny_backbone
from multigraft.batching.collate import Batch
from multigraft.methods.bank import Bank
from multigraft.methods.base import parse_method
from multigraft.methods.heads import Heads, Pooling
from multigraft.methods.joint import JointModel

METHODS: list[dict[str, Any]] = [
    {"name": "heads_only"},
    {"name": "pal", "dropout": 0.0},
    {"name": "pal", "dropout": 0.0, "reads": "ffn_input", "lhuc": True},
    {"name": "ffn", "reads": "ffn_input"},
    {"name": "low_rank"},
    {"name": "adapter"},
    {"name": "adapter", "form": "released"},
    {"name": "residual_adapter"},
    {"name": "residual_adapter", "form": "series"},
    {"name": "lora", "maps": ["q", "v", "o", "up", "down"]},
    {"name": "lhuc"},
    {"name": "top_attention", "dropout": 0.0},
]


def model_of(method: Any, family: str, pooling: Pooling) -> JointModel:
    backbone = tiny_backbone(family)
    bank = Bank(parse_method(method), backbone, ["a", "b"])
    with torch.no_grad():
        bank.stack.values += 0.3 * torch.randn(bank.stack.values.shape, generator=torch.Generator().manual_seed(0))
    return JointModel(backbone, bank, Heads(backbone, {"a": 2, "b": 2}), pooling=pooling, tuned=True)


def batch_of(rows: int) -> Batch:
    ids = torch.randint(5, 60, (rows, 7), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(7) < torch.tensor([7, 4, 6, 5])[:rows, None]).long()
    local = torch.tensor([1, 0, 0, 1])[:rows]
    target, number = torch.zeros(rows, dtype=torch.int64), torch.zeros(rows)
    return Batch(ids, mask, None, (0, 1), local, None, None, None, local, target + 2, target, number)


def gradients(model: JointModel, values: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    values.square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("method", METHODS, ids=lambda m: "-".join(str(value) for value in m.values()))
@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_values_and_gradients_are_those_of_all_tokens(method: dict[str, Any], family: str) -> None:
    model, batch = model_of(method, family, "first"), batch_of(4)
    mask = batch.attention_mask
    with model.bank.rows(batch.experts, batch.local, mask) if model.bank.stack.width else torch.enable_grad():
        whole = model.encode(batch.input_ids, mask, None)
    assert whole.shape[1] == 7
    wanted = model.heads(whole[:, 0], batch.experts, batch.local)
    found = model(batch)
    torch.testing.assert_close(found, wanted)
    expected = gradients(model, wanted)
    actual = gradients(model, found)
    assert actual.keys() == expected.keys()
    for name, gradient in actual.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("method", "family", "pooling", "attention", "feed_forward"),
    [
        ("pal", "bert", "first", 1, 1),
        ("pal", "distilbert", "first", 7, 1),
        ({"name": "pal", "reads": "ffn_input"}, "bert", "first", 7, 1),  # its attention reads all tokens there
        ("heads_only", "deberta-v2", "first", 7, 1),
        ("pal", "bert", "mean", 7, 7),  # the heads read all tokens
        ("top_attention", "bert", "first", 7, 7),  # the module does
        ("pal", "modernbert", "first", 7, 7),  # what the feed-forward reads is not its residual
    ],
)
def test_the_end_of_the_last_layer_runs_for_what_is_read(
    method: Any, family: str, pooling: Pooling, attention: int, feed_forward: int
) -> None:
    model = model_of(method, family, pooling).eval()
    seen: dict[str, list[int]] = {"o": [], "down": []}
    for index in range(3):
        for part, counts in seen.items():
            linear = model.backbone.layer(index).get_submodule(model.backbone.family.stacks[0].linears[part])
            linear.register_forward_pre_hook(lambda _, args, counts=counts: counts.append(args[0].shape[1]))
    with torch.no_grad():
        model(batch_of(2))
    assert seen == {"o": [7, 7, attention], "down": [7, 7, feed_forward]}
