"""Checkpoints: what a run needs to go on as if it had not stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from multigraft.errors import UserError
from multigraft.files import new_folder, recover_folder, write_json
from multigraft.methods.shared import SharedModel
from multigraft.training.optimizers import Optimizers


def _parameters(model: SharedModel) -> dict[str, Tensor]:
    """Everything that training changes, by name."""
    tensors: dict[str, Tensor] = {name: stack.values for name, stack in model.stacks.items()}
    return tensors | {name: p for name, p in model.shared() if p.requires_grad}


def trained_tensors(model: SharedModel) -> dict[str, Tensor]:
    """Copies of everything that training changes, by name, on the CPU."""
    return {name: p.detach().to("cpu", copy=True).contiguous() for name, p in _parameters(model).items()}


def load_trained(model: SharedModel, tensors: dict[str, Tensor]) -> None:
    """Put `trained_tensors` back. Raises ValueError when names or shapes are not the model's."""
    targets = _parameters(model)
    wanted = {name: tuple(target.shape) for name, target in targets.items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wanted != found:
        odd = min(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise ValueError(f"tensor {odd!r} is {found.get(odd, 'missing')}, expected {wanted.get(odd, 'none')}")
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(tensors[name])


def save_checkpoint(folder: Path, model: SharedModel, optimizers: Optimizers, progress: dict[str, Any]) -> None:
    """Write a checkpoint that replaces the one before; a crash leaves one of the two complete."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in optimizers.state().items()}
    with new_folder(folder) as new:
        save_file(trained_tensors(model), new / "weights.safetensors")
        save_file(state, new / "optimizer.safetensors")
        write_json(new / "progress.json", progress)


def load_checkpoint(folder: Path, model: SharedModel, optimizers: Optimizers) -> dict[str, Any] | None:
    """Put the newest checkpoint into model and optimizers; gives its `progress`, or None when there is none.

    Raises UserError when the checkpoint is damaged or belongs to another model.
    """
    recover_folder(folder)
    if not folder.exists():
        return None
    try:
        weights, state = load_file(folder / "weights.safetensors"), load_file(folder / "optimizer.safetensors")
        progress: dict[str, Any] = json.loads((folder / "progress.json").read_text())
        load_trained(model, weights)
        optimizers.load_state(state)
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"not a checkpoint of this run: {reason}", where=folder, fix="start in a new folder") from None
    return progress
