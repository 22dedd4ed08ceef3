"""The result of one run, as it is kept in its folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from multigraft.batching.collate import Batch
from multigraft.evaluation.scoring import targets
from multigraft.files import new_folder, write_json
from multigraft.methods.joint import JointModel
from multigraft.settings import Record
from multigraft.strategies.data import Data
from multigraft.training.precision import computing_in


class RunResult(Record):
    """What one run with one seed found out: `result.json`."""

    scores: dict[str, float]
    parameters: int
    trained_parameters: int
    one_model: int  # parameters of one backbone with one head, to compare with
    train_seconds: float
    peak_memory_mb: float
    answer_ms: float
    steps: int
    chosen_step: int
    ledger: dict[str, dict[str, float]]
    draws: dict[str, tuple[float, ...]]
    curve: dict[str, tuple[float, ...]]


def keep_result(folder: Path, result: RunResult, predictions: Mapping[str, np.ndarray], data: Data) -> None:
    """Write what `finished` and `predictions_of` read, and drop the checkpoint."""
    with new_folder(folder / "result") as new:
        save_file(
            {name: np.ascontiguousarray(values) for name, values in predictions.items()},
            new / "predictions.safetensors",
        )
        save_file({name: targets(rows) for name, rows in data.scored.items()}, new / "targets.safetensors")
        write_json(new / "result.json", result.model_dump(mode="json"))
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)  # of no more use, and three times the model's size


def finished(folder: Path) -> RunResult | None:
    """The result of a run that was finished in `folder`, or None."""
    path = folder / "result" / "result.json"
    return RunResult.model_validate_json(path.read_text()) if path.exists() else None


def predictions_of(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Targets and predictions of a finished run, by task: n each."""
    wanted, found = (
        load_file(folder / "result/targets.safetensors"),
        load_file(folder / "result/predictions.safetensors"),
    )
    return {name: (wanted[name], found[name]) for name in wanted}


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
