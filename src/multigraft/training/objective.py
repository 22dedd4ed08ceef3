"""The loss of a batch that may mix classes and numbers of many tasks."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from multigraft.batching.collate import Batch
from multigraft.batching.encode import NO_CLASS


def row_losses(scores: Tensor, batch: Batch) -> Tensor:
    """Loss of each row: B; cross-entropy over its options, or the squared error of its scaled number."""
    classes = F.cross_entropy(scores, batch.target_class, ignore_index=NO_CLASS, reduction="none")
    numbers = F.mse_loss(scores[:, 0], batch.target_number, reduction="none")
    return torch.where(batch.target_class == NO_CLASS, numbers, classes)


def row_weights(tasks: np.ndarray, independent: bool) -> np.ndarray:
    """Weight of each row in the loss: B, float32.

    A tuned backbone minimises the mean over the rows. Independent experts minimise the mean over their own
    rows, so that an expert's gradient is the one it gets alone.
    """
    if not independent:
        return np.full(len(tasks), 1 / len(tasks), dtype=np.float32)
    return (1 / np.bincount(tasks)[tasks]).astype(np.float32)
