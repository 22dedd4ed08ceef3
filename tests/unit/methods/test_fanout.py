"""Where the rows of different experts part. That the answers are the plain way's: tests/contract/test_answers.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from multigraft.backbones.tiny import tiny_backbone
from multigraft.methods.bank import Bank
from multigraft.methods.base import parse_method
from multigraft.methods.fanout import fan_out, fork

UPPER = {"layers": [1, 2]}


@pytest.mark.parametrize(
    ("method", "family", "site"),
    [
        ({"name": "pal", **UPPER}, "bert", "layer_sum[1]"),
        ({"name": "pal", **UPPER}, "modernbert", "layer_sum[1]"),
        ({"name": "pal", **UPPER}, "deberta-v2", "layer_input[1]"),
        ({"name": "lhuc"}, "distilbert", "layer_sum[0]"),
        ({"name": "adapter", **UPPER}, "electra", "attention_output[1]"),
        ({"name": "adapter", "sublayers": "ffn", **UPPER}, "bert", "attention_output[1]"),
        ({"name": "adapter", **UPPER}, "distilbert", "layer_input[1]"),
        ({"name": "adapter"}, "mpnet", "embeddings"),
        ({"name": "lora", "maps": ["up", "down"], **UPPER}, "roberta", "attention_output[1]"),
        ({"name": "lora", "maps": ["o", "up", "down"], **UPPER}, "roberta", "layer_input[1]"),
        ({"name": "lora", **UPPER}, "roberta", "layer_input[1]"),
        ({"name": "bitfit", **UPPER}, "bert", "layer_input[1]"),
        ({"name": "top_layer"}, "bert", "final"),
        ({"name": "heads_only"}, "bert", "final"),
    ],
)
def test_rows_part_as_late_as_possible(method: dict[str, Any], family: str, site: str) -> None:
    assert str(fork(tiny_backbone(family), parse_method(method))) == site


@pytest.mark.parametrize(("name", "shared"), [("pal", ["q", "o", "down"]), ("adapter", ["q", "o"]), ("lora", [])])
def test_what_lies_below_the_fork_runs_once(name: str, shared: list[str]) -> None:
    backbone = tiny_backbone()
    bank = Bank(parse_method({"name": name, "layers": [1]}), backbone, ["a", "b", "c"]).eval()
    rows: dict[str, int] = {}
    for part in ("q", "o", "down"):
        path = backbone.family.stacks[0].linears[part]

        def count(_: Any, args: Any, part: str = part) -> None:
            rows[part] = len(args[0])

        backbone.layer(1).get_submodule(path).register_forward_pre_hook(count)
    ids, mask = torch.randint(5, 60, (2, 7)), torch.ones(2, 7)
    local = torch.arange(3).repeat_interleave(2)
    forked = fan_out(backbone, fork(backbone, bank.method), 3, 2)
    with torch.no_grad(), forked, bank.rows([0, 1, 2], local, mask.repeat(3, 1)):
        hidden = backbone.model(input_ids=ids, attention_mask=mask).last_hidden_state
    assert len(hidden) == 6
    assert rows == {part: 2 if part in shared else 6 for part in ("q", "o", "down")}
