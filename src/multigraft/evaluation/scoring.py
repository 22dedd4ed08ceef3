"""Predictions and scores of a joint model over whole splits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from multigraft.batching.collate import Batch, collate
from multigraft.batching.encode import Encoded
from multigraft.evaluation.metrics import score
from multigraft.methods.joint import JointModel
from multigraft.tasks.task import Task
from multigraft.training.precision import computing_in

ROWS = 64  # in an evaluation batch


@torch.inference_mode()
def predict(model: JointModel, data: Encoded, expert: int, precision: str = "auto") -> np.ndarray:
    """Predictions for every row of `data` by one expert: n; index of the chosen option, or the scaled number.

    Rows are batched by length, so little is padded; the result is in the order of the rows.
    """
    model.eval()
    device = next(model.encoder.parameters()).device
    found = np.zeros(len(data), dtype=np.float64)
    order = np.argsort(data.lengths, kind="stable")
    # One data set stands at the expert's place in an otherwise empty list.
    places: list[Encoded] = [data] * (expert + 1)
    for start in range(0, len(order), ROWS):
        rows = order[start : start + ROWS]
        batch = collate(places, np.full(len(rows), expert), rows, model.backbone.pad_id).to(device)
        with computing_in(precision, device):
            scores = model(batch)
        choices = scores.argmax(dim=1).double()
        numbers = scores[:, 0].double()
        found[rows] = torch.where(batch.choices == 0, numbers, choices).cpu().numpy()
    return found


def targets(data: Encoded) -> np.ndarray:
    """What `predict` should give for every row: n."""
    return np.where(data.choices == 0, data.target_number, data.target_class).astype(np.float64)


def predict_tasks(model: JointModel, data: Mapping[str, Encoded], precision: str = "auto") -> dict[str, np.ndarray]:
    """`predict` for each task by its own expert."""
    return {name: predict(model, rows, model.names.index(name), precision) for name, rows in data.items()}


def score_tasks(
    tasks: Sequence[Task], predictions: Mapping[str, np.ndarray], data: Mapping[str, Encoded]
) -> dict[str, float]:
    """Score of each task by its own metric, in per cent."""
    return {task.name: score(task.metric, predictions[task.name], targets(data[task.name])) for task in tasks}


@torch.inference_mode()
def answer_ms(model: JointModel, text: Batch, precision: str, repeats: int = 9) -> float:
    """Milliseconds to answer one text for all tasks of the model: the median over `repeats`."""
    model.eval()
    device = next(model.encoder.parameters()).device
    text = text.to(device)
    types = None if text.token_type_ids is None else text.token_type_ids[:1]
    times = []
    for _ in range(repeats + 2):
        begin = time.perf_counter()
        with computing_in(precision, device):
            model.answer_all(text.input_ids[:1], text.attention_mask[:1], types, range(len(model.names))).cpu()
        times.append(1000 * (time.perf_counter() - begin))
    return float(np.median(times[2:]))
