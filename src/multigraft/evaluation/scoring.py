"""Predictions and scores of a joint model over whole splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from multigraft.batching.collate import Batch, collate
from multigraft.batching.encode import Encoded
from multigraft.evaluation.metrics import score
from multigraft.evaluation.template_statistics import Templated
from multigraft.methods.joint import JointModel
from multigraft.runinfo import median_ms
from multigraft.tasks.task import Task
from multigraft.training.precision import computing_in

ROWS = 64  # in an evaluation batch


@torch.inference_mode()
def predict(model: JointModel, data: Encoded, expert: int, precision: str = "auto") -> np.ndarray:
    """Predictions for every row of `data` by one expert: n; index of the chosen option, or the scaled number.

    Rows are batched by length, so little is padded; the result is in the order of the rows.
    """
    model.eval()
    found = np.zeros(len(data), dtype=np.float64)
    # One data set stands at the expert's place in an otherwise empty list.
    for rows, batch in _batches([data] * (expert + 1), expert, ROWS, model):
        with computing_in(precision, batch.task.device):
            scores = model(batch)
        choices = scores.argmax(dim=1).double()
        numbers = scores[:, 0].double()
        found[rows] = torch.where(batch.choices == 0, numbers, choices).cpu().numpy()
    return found


class Read(NamedTuple):
    """What each of N experts makes of S sequences."""

    features: np.ndarray  # N S D, float32: what heads read
    values: np.ndarray  # N S C, float32: what heads give; beyond a head's own outputs 0


@torch.inference_mode()
def read_all(model: JointModel, data: Encoded, precision: str = "auto") -> Read:
    """Every sequence of `data` by all experts of the model; layers below the first module run once for all."""
    model.eval()
    count, ends = len(model.names), data.first
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    seen: list[Tensor] = []
    handle = model.heads.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        for rows, batch in _batches([data], 0, max(1, ROWS // count), model):
            with computing_in(precision, batch.task.device):
                values = model.answer_all(batch.input_ids, batch.attention_mask, batch.token_type_ids, range(count))
            read = seen.pop().unflatten(0, (count, -1))
            places = np.concatenate([np.arange(ends[row], ends[row + 1]) for row in rows])
            found.append((places, read.float().cpu().numpy(), values.float().cpu().numpy()))
    finally:
        handle.remove()
    order = np.argsort(np.concatenate([places for places, _, _ in found]))
    features, outputs = (np.concatenate([part[i] for part in found], axis=1)[:, order] for i in (1, 2))
    return Read(features, outputs)


def _batches(data: Sequence[Encoded], expert: int, size: int, model: JointModel) -> Iterator[tuple[np.ndarray, Batch]]:
    """Rows of `data[expert]`, those of like lengths together, and the batch of each."""
    device = next(model.encoder.parameters()).device
    order = np.argsort(data[expert].lengths, kind="stable")
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        yield rows, collate(data, np.full(len(rows), expert), rows, model.backbone.pad_id).to(device)


def targets(data: Encoded) -> np.ndarray:
    """What `predict` should give for every row: n."""
    return np.where(data.choices == 0, data.target_number, data.target_class).astype(np.float64)


def in_units(task: Task, values: np.ndarray) -> np.ndarray:
    """Numbers of a head, which are scaled to 0..1, in the units of their task; classes as they are."""
    if task.output.kind != "number":
        return values
    low, high = task.output.range
    return low + values * (high - low)


def templated(task: Task, rows: Encoded, predictions: np.ndarray) -> Templated:
    """The predictions of one seed, n, which know no wordings, with what is right, in the units of the task."""
    return Templated(task.metric, ("",), in_units(task, targets(rows)), in_units(task, predictions)[None, None])


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

    def answer_all() -> None:
        with computing_in(precision, device):
            model.answer_all(text.input_ids[:1], text.attention_mask[:1], types, range(len(model.names))).cpu()

    return median_ms(answer_all, repeats, warm_up=2)
