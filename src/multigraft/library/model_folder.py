"""A trained model as a folder: shared weights once, every expert by itself with its card.

model.json                       what is needed to build it: backbone, method, heads, tasks
shared.safetensors               tuned backbone and shared pooler; absent when nothing shared was trained
experts/TASK/weights.safetensors module and head of one task
experts/TASK/card.json
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from multigraft.backbones.load import Backbone, load_backbone
from multigraft.errors import UserError
from multigraft.files import new_folder, write_json
from multigraft.library.card import Card
from multigraft.methods.bank import Bank
from multigraft.methods.base import parse_method
from multigraft.methods.heads import Heads, PoolerKind, Pooling
from multigraft.methods.joint import JointModel
from multigraft.settings import Record, build, read_yaml
from multigraft.tasks.task import Task


class ModelFile(Record):
    """`model.json`."""

    suite: str  # where the tasks' rows were read
    backbone: str
    backbone_fingerprint: str  # of the weights that training started from
    pretrained: bool
    seed: int
    tuned: bool
    pooling: Pooling
    pooler: PoolerKind
    method: dict[str, Any]
    max_length: int
    precision: str
    tasks: tuple[dict[str, Any], ...]  # as in task.yaml


def build_model(
    backbone: Backbone,
    tasks: list[Task],
    method: object,
    *,
    pooling: Pooling,
    pooler: PoolerKind,
    tuned: bool,
    seed: int,
) -> JointModel:
    """A fresh joint model for the tasks, one expert and head each, in their order."""
    names = [task.name for task in tasks]
    outputs = {task.name: task.head_outputs for task in tasks}
    bank = Bank(parse_method(method), backbone, names, seed=seed)
    heads = Heads(backbone, outputs, pooler=pooler, seed=seed)
    return JointModel(backbone, bank, heads, pooling=pooling, tuned=tuned)


def save_model(folder: Path, model: JointModel, file: ModelFile, cards: Mapping[str, Card]) -> None:
    """Write a model folder; one that was there before is replaced only when the new one is complete."""
    with new_folder(folder) as new:
        write_json(new / "model.json", file.model_dump(mode="json"))
        shared = {n: p.detach().cpu().contiguous() for n, p in model.shared() if _is_saved(n, model.tuned)}
        if shared:
            save_file(shared, new / "shared.safetensors")
        for name in model.names:
            place = new / "experts" / name
            place.mkdir(parents=True)
            tensors = {f"module.{key}": value for key, value in model.bank.stack.expert(name).items()}
            tensors |= {f"head.{key}": value for key, value in model.heads.expert(name).items()}
            save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, place / "weights.safetensors")
            write_json(place / "card.json", cards[name].model_dump(mode="json"))


def _is_saved(name: str, tuned: bool) -> bool:
    # A shared pooler is saved even if it is frozen: families without a pretrained one start from a random draw.
    return tuned or name.startswith("pooler.")


def find_models(folder: Path) -> list[Path]:
    """The model folders that a run left in `folder`: itself, its `model`, or one in each task's folder.

    Raises UserError when there is none.
    """
    for places in ([folder], [folder / "model"], sorted(folder.glob("*/model"))):
        found = [place for place in places if (place / "model.json").exists()]
        if found:
            return found
    raise UserError("no model in here", where=folder, fix="give the folder that train wrote")


def load_model(folder: Path) -> tuple[JointModel, dict[str, Task], ModelFile]:
    """A trained model, its tasks by name, and its settings.

    Raises UserError when the folder is not a model, is damaged, or its backbone is not the one it was trained on.
    """
    path = folder / "model.json"
    if not path.exists():
        raise UserError(
            "not a model folder: model.json is missing", where=folder, fix="give the folder that train wrote"
        )
    file = build(ModelFile, read_yaml(path), path)
    tasks = [build(Task, task, path).at(folder) for task in file.tasks]
    backbone = load_started(path, file.backbone, file.pretrained, file.seed, file.backbone_fingerprint)
    model = build_model(
        backbone, tasks, file.method, pooling=file.pooling, pooler=file.pooler, tuned=file.tuned, seed=file.seed
    )
    wanted = {n: p for n, p in model.shared() if _is_saved(n, model.tuned)}
    if wanted:
        load_shared(folder / "shared.safetensors", wanted)
    for task in tasks:
        _load_expert(folder / "experts" / task.name / "weights.safetensors", model, task.name)
    return model.eval(), {task.name: task for task in tasks}, file


def load_started(where: Path, name: str, pretrained: bool, seed: int, fingerprint: str) -> Backbone:
    """The backbone that a training started from. Raises UserError, with both fingerprints, for other weights."""
    backbone = load_backbone(name, pretrained=pretrained, seed=seed)
    if backbone.fingerprint != fingerprint:
        raise UserError(
            f"the backbone {name!r} has fingerprint {backbone.fingerprint}, the model was trained on {fingerprint}",
            where=where,
            fix="use the backbone it was trained on",
        )
    return backbone


def load_shared(path: Path, wanted: Mapping[str, torch.nn.Parameter]) -> None:
    """Put the tensors of a file into the parameters of these names. Raises UserError when they are not theirs."""
    tensors = read_tensors(path)
    if {n: tuple(p.shape) for n, p in wanted.items()} != {n: tuple(t.shape) for n, t in tensors.items()}:
        raise UserError("the tensors are not those of the backbone", where=path)
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(tensors[name])


def _load_expert(path: Path, model: JointModel, name: str) -> None:
    parts: dict[str, dict[str, torch.Tensor]] = {"module": {}, "head": {}}
    for key, tensor in read_tensors(path).items():
        part, _, rest = key.partition(".")
        if part not in parts:
            raise UserError(f"unknown tensor {key!r}", where=path)
        parts[part][rest] = tensor
    try:
        model.bank.stack.load_expert(name, parts["module"])
        model.heads.load_expert(name, parts["head"])
    except UserError as error:
        raise UserError(error.what, where=path, fix="train the model again") from None


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file. Raises UserError when it is missing or damaged."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError("the file is missing", where=path, fix="train the model again") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"damaged: {error}", where=path, fix="train the model again") from None
