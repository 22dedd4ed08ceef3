"""Rank classification: norms, choices, and batches of questions. That scores are right is in the contract tests."""

from __future__ import annotations

import numpy as np
import pytest

from multigraft.backbones.tiny import tiny_text_backbone
from multigraft.evaluation import ranking
from multigraft.evaluation.ranking import OptionScores, score_options
from multigraft.methods.bank import Bank
from multigraft.methods.heads_only import HeadsOnly
from multigraft.methods.text_model import TextModel

# Two questions: three options, then two of which the second would win by sum for being short.
SCORES = OptionScores(
    first=np.array([0, 3, 5]),
    total=np.array([-3.0, -2.0, -2.0, -6.0, -4.0]),
    unconditional=np.array([-5.0, -2.0, -2.0, -5.0, -4.5]),
    tokens=np.array([1, 1, 1, 3, 1]),
    bytes=np.array([6, 2, 1, 4, 2]),
)
INPUTS = ["a cat is big", "", "the dog", "red blue 1 2 3", "who"]
OPTIONS = [["good", "bad one"], ["a", ""], ["no", "yes", "why where one"], ["x"], ["one", "two more"]]


@pytest.mark.parametrize(
    ("norm", "chosen"), [("sum", [1, 1]), ("tokens", [1, 0]), ("bytes", [0, 0]), ("unconditional", [0, 1])]
)
def test_norms_choose_differently(norm: ranking.Norm, chosen: list[int]) -> None:
    assert SCORES.choose(norm).tolist() == chosen


def test_an_option_without_tokens_has_scores() -> None:
    empty = OptionScores(np.array([0, 1]), np.zeros(1), np.zeros(1), np.zeros(1, int), np.zeros(1, int))
    for norm in ("sum", "tokens", "bytes", "unconditional"):
        assert empty.normed(norm).tolist() == [0.0]


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_scores_do_not_depend_on_batches(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_text_backbone(family)
    model = TextModel(backbone, Bank(HeadsOnly(), backbone, ["only"]), tuned=False)
    form = backbone.text_format(30, 8)
    found = []
    for tokens in (1, 20, 4096):
        monkeypatch.setattr(ranking, "TOKENS", tokens)
        found.append(score_options(model, INPUTS, OPTIONS, [0] * len(INPUTS), form, "fp32"))
    assert found[0].total[3] == 0.0  # nothing is surely written
    for other in found[1:]:
        np.testing.assert_allclose(other.total, found[0].total, atol=1e-5)
        np.testing.assert_allclose(other.unconditional, found[0].unconditional, atol=1e-5)
    nothing = score_options(model, [], [], [], form, "fp32")
    assert nothing.first.tolist() == [0]
    assert nothing.total.size == nothing.unconditional.size == 0
