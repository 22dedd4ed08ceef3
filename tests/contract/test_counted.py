"""Promise 5: parameter counts equal the paper's formula, for BERT-base (D 768, L 12), from shapes alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from tests.contract.conftest import Case, MakeJoint
from transformers import BertConfig, BertModel

from multigraft.backbones.load import Backbone
from multigraft.methods.bank import Bank
from multigraft.methods.base import parse_method
from multigraft.methods.heads import Heads
from multigraft.methods.joint import JointModel

D, L, I = 768, 12, 3072  # noqa: E741 - inner width of BERT's feed-forward


@cache
def bert_base() -> Backbone:
    """BERT-base without memory for its weights."""
    with torch.device("meta"):
        return Backbone(BertModel(BertConfig()), None, "bert-base")


def dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


# From arXiv 1902.02671, as released: parameters per task, and the size of eight tasks relative to one BERT-base.
PAPER: list[tuple[dict[str, Any], int, float]] = [
    ({"name": "pal"}, 1_819_836, 1.133),
    ({"name": "pal", "form": "paper"}, 1_819_836, 1.133),
    ({"name": "low_rank"}, 1_853_616, 1.135),
    ({"name": "low_rank", "activation": "identity"}, 1_853_616, 1.135),
    ({"name": "pal", "share_v": False, "width": 84}, 1_815_552, 1.133),
    ({"name": "pal", "width": 276, "layers": "first_half"}, 1_801_116, 1.132),
    ({"name": "pal", "width": 276, "layers": "final_half"}, 1_801_116, 1.132),
    ({"name": "adapter"}, 1_862_832, 1.136),
    ({"name": "adapter", "form": "released"}, 1_862_832, 1.136),
    ({"name": "lhuc"}, 9_216, 1.0007),
    ({"name": "top_attention"}, 1_320_444, 1.097),
    ({"name": "top_ffn"}, 2 * 768 * 408 + 768 + 408 + 4 * 408**2 + 3 * 408 + 2 * 408, 1.10),
    ({"name": "top_ffn", "depth": 2}, 2 * 768 * 252 + 768 + 252 + 2 * (4 * 252**2 + 3 * 252 + 2 * 252), 1.07),
    ({"name": "top_layer"}, 7_087_872, 1.518),
    ({"name": "heads_only"}, 0, 1.0),
]
# From the formulas of the methods' own papers.
FORMULAS: list[tuple[dict[str, Any], int]] = [
    ({"name": "lora"}, L * 2 * (8 * D + D * 8)),
    ({"name": "lora", "rank": 4, "maps": ["q", "k", "v", "o", "up", "down"]}, L * 4 * (4 * 2 * D + 2 * (D + I))),
    ({"name": "bitfit"}, L * (4 * D + I + D + 2 * D)),  # Ben Zaken et al.: 0.09 % of BERT-base with its head
    ({"name": "full"}, L * (4 * dense(D, D) + dense(D, I) + dense(I, D) + 2 * D)),
    ({"name": "ffn", "width": 204}, dense(D, 204) + dense(204, D) + L * dense(204, 204)),
    ({"name": "ffn", "width": 204, "depth": 2}, dense(D, 204) + dense(204, D) + L * 2 * dense(204, 204)),
    ({"name": "adapter", "sublayers": "attention", "width": 64}, L * (dense(D, 64) + dense(64, D))),
    ({"name": "residual_adapter"}, L * dense(D, D)),
    ({"name": "residual_adapter", "form": "series", "rank": 16}, L * (2 * 16 * D + D)),
    ({"name": "pal", "lhuc": True}, 1_819_836 + L * D),
    ({"name": "lhuc", "layers": [3]}, D),
    ({"name": "top_linear"}, dense(D, D)),
    ({"name": "soft_prompt"}, 100 * D),
    ({"name": "soft_prompt", "length": 20}, 20 * D),
    ({"name": "prefix_tuning"}, L * 2 * 20 * D),
    ({"name": "prefix_tuning", "length": 10, "width": 512}, 10 * D + dense(D, 512) + dense(512, L * 2 * D)),
    ({"name": "p_tuning"}, 20 * D + 3 * dense(D, D)),
    ({"name": "p_tuning", "length": 10, "width": 256}, 10 * D + dense(D, 256) + dense(256, 256) + dense(256, D)),
    (
        {"name": "p_tuning", "encoder": "lstm"},
        20 * D + 2 * 2 * 4 * (D // 2 * (D + D // 2 + 2)) + 2 * dense(D, D),  # two layers of inputs 2R = D
    ),
]


@pytest.mark.parametrize(("method", "count", "relative"), PAPER, ids=lambda value: str(value))
def test_the_paper_s_counts(method: dict[str, Any], count: int, relative: float) -> None:
    backbone = bert_base()
    size = parse_method(method).size(backbone)
    base = sum(p.numel() for p in [*backbone.model.parameters(), *backbone.pooler.parameters()])  # type: ignore[union-attr]
    assert base == 109_482_240
    assert size == count
    digits = len(str(relative).partition(".")[2])
    assert (base + 8 * size) / base == pytest.approx(relative, abs=10**-digits)


@pytest.mark.parametrize(("method", "count"), FORMULAS, ids=lambda value: str(value))
def test_other_counts(method: dict[str, Any], count: int) -> None:
    assert parse_method(method).size(bert_base()) == count


def test_what_is_counted_is_there(case: Case) -> None:
    backbone = case.backbone()
    bank = Bank(case.method, backbone, ["a", "b", "c"])
    bank.detach()
    expert = bank.stack.expert("b")
    assert sum(tensor.numel() for tensor in expert.values()) == case.method.size(backbone) == bank.stack.width
    assert sum(parameter.numel() for parameter in bank.parameters()) == 3 * bank.stack.width


def test_a_joint_model_counts_each_parameter_once(plain_case: Case, make_joint: MakeJoint) -> None:
    model: JointModel = make_joint(plain_case, ["three", "two"])
    d = plain_case.backbone().width
    assert model.parameters_of("three") == plain_case.method.size(plain_case.backbone()) + 3 * d + 3
    assert model.parameters_of("two") == plain_case.method.size(plain_case.backbone()) + 2 * d + 2
    encoder = sum(p.numel() for p in model.encoder.parameters())
    assert model.shared_parameters() == encoder + d * d + d


def test_a_pooler_for_each_task_belongs_to_the_task() -> None:
    heads = Heads(bert_base(), {"a": 3}, pooler="none")
    assert heads.size("a") == 3 * D + 3
