from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from multigraft.batching.collate import Batch
from multigraft.batching.encode import NO_CLASS
from multigraft.training.objective import row_losses, row_weights


def make_batch(classes: list[int], numbers: list[float]) -> Batch:
    """A batch of which only the targets are looked at."""
    empty = torch.zeros(len(classes), 1, dtype=torch.int64)
    return Batch(
        input_ids=empty, attention_mask=empty, token_type_ids=None, experts=(0,), local=None, row=None, slot=None,
        by_row=None, task=empty[:, 0], choices=empty[:, 0],
        target_class=torch.tensor(classes), target_number=torch.tensor(numbers),
    )  # fmt: skip


def test_classes_and_numbers_in_one_batch() -> None:
    inf = math.inf
    scores = torch.tensor([[1.0, 2.0, 0.5], [0.25, -inf, -inf], [0.3, -0.1, -inf], [0.9, -inf, -inf]])
    losses = row_losses(scores, make_batch([1, NO_CLASS, 0, NO_CLASS], [0.0, 0.75, 0.0, 0.4]))
    three = math.log(math.exp(1.0) + math.exp(2.0) + math.exp(0.5)) - 2.0
    two = math.log(math.exp(0.3) + math.exp(-0.1)) - 0.3
    assert losses.tolist() == pytest.approx([three, 0.25, two, 0.25], abs=1e-6)


def test_gradients_reach_only_what_a_row_answers_with() -> None:
    scores = torch.tensor([[0.5, -math.inf], [0.5, 0.5]], requires_grad=True)
    row_losses(scores, make_batch([NO_CLASS, 1], [1.0, 0.0])).sum().backward()
    assert scores.grad is not None
    assert scores.grad[0].tolist() == [-1.0, 0.0]
    assert scores.grad[1].tolist() == [0.5, -0.5]


def test_a_tuned_backbone_weighs_rows_alike() -> None:
    assert row_weights(np.array([2, 0, 2, 2]), independent=False).tolist() == [0.25] * 4


def test_independent_experts_weigh_their_own_rows() -> None:
    weights = row_weights(np.array([2, 0, 2, 2]), independent=True)
    assert weights.tolist() == pytest.approx([1 / 3, 1, 1 / 3, 1 / 3])
    assert weights.dtype == np.float32
