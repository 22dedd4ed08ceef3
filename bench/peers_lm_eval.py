"""lm-eval's side: log-probabilities of options and its choices by them. Runs in the environment `lm_eval`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM


def lm_eval_model(folder: Path, kind: str, rows: int, device: torch.device) -> HFLM:
    """The model in a folder, in float32, with `rows` texts in a batch; kind: encoder_decoder or decoder."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    backend = "seq2seq" if kind == "encoder_decoder" else "causal"
    return HFLM(str(folder), backend=backend, device=device.type, dtype="float32", batch_size=rows)


def log_probabilities(model: HFLM, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Of each continuation behind its context: float64, one for each pair."""
    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    return np.array([value for value, _ in model.loglikelihood(requests, disable_tqdm=True)])


def choices(total: np.ndarray, alone: np.ndarray, options: Sequence[str]) -> dict[str, int]:
    """What a question's `acc`, `acc_bytes` and `acc_mutual_info` take as the answer, under our names for them."""
    sizes = np.array([float(len(option.encode())) for option in options])
    values = {"sum": total, "bytes": total / sizes, "unconditional": total - alone}
    return {norm: int(np.argmax(value)) for norm, value in values.items()}
