"""An expert outside a library: a folder by itself, or a part of the folder of a trained model.

weights.safetensors              its tensors, those of a head as `head.…`
card.json                        what it is
keys.safetensors                 its key vectors, if it has any
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy
import safetensors.torch
from torch import Tensor

from multigraft.errors import UserError
from multigraft.files import write_bytes, write_json
from multigraft.library.card import Card, HeadCard
from multigraft.library.model_folder import ModelFile, find_models
from multigraft.library.objects import parse_tensors
from multigraft.library.store import HEAD, Expert, Library, check_name, taken
from multigraft.library.text_folder import FILE as TEXT_FILE
from multigraft.library.text_folder import TextModelFile, trained_folder
from multigraft.methods.base import method_record, parse_method
from multigraft.settings import build, read_yaml
from multigraft.tasks.task import Task

WEIGHTS, CARD, KEYS = "weights.safetensors", "card.json", "keys.safetensors"
_MODULE = "module."  # in front of tensors in an encoder's model folder


class Parcel(NamedTuple):
    """What makes an expert of a library."""

    name: str
    tensors: dict[str, Tensor]
    card: Card
    keys: np.ndarray | None = None


def read_experts(folder: Path) -> list[Parcel]:
    """The experts in a folder: of one expert, of a trained model of either kind, or of a run that wrote several.

    A pooler that the heads share comes with each of them. Raises UserError when there is none, and for an expert that
    is damaged, or whose card names another backbone than the model's file.
    """
    if (folder / CARD).exists():
        return [read_parcel(folder, folder.resolve().name)]
    text = trained_folder(str(folder))
    found = _text_experts(text) if text is not None else [e for f in find_models(folder) for e in _encoder_experts(f)]
    kept = [parcel for parcel in found if parcel.tensors]
    if not kept:
        raise UserError("no expert in here has parameters of its own", where=folder, fix="train one with a method")
    return kept


def add_all(library: Library, parcels: list[Parcel], *, replace: bool = False) -> list[Expert]:
    """Add experts, after a look at all their names. Raises UserError as `Library.add`, and for a name given twice."""
    names = [parcel.name for parcel in parcels]
    there = set() if replace else set(library.names())
    for index, name in enumerate(names):
        check_name(name)
        if name in there or name in names[:index]:
            raise taken(name, library.folder)
    return [library.add(*parcel, replace=replace) for parcel in parcels]


def read_parcel(folder: Path, name: str) -> Parcel:
    """The expert in a folder of its own. Raises UserError for missing, damaged or strange files."""
    tensors, keys = _tensors(folder / WEIGHTS), folder / KEYS
    if any(key.startswith(_MODULE) for key in tensors):
        raise UserError("part of a model", where=folder, fix="give the model's folder, which knows its heads")
    vectors = _tensors(keys) if keys.exists() else {}
    if vectors.keys() - {"keys"}:
        raise UserError("expected one tensor 'keys'", where=keys)
    return Parcel(name, tensors, _card(folder), vectors["keys"].numpy() if vectors else None)


def write_parcel(folder: Path, expert: Expert) -> None:
    """Write an expert as a folder of its own. Raises UserError when its files are damaged."""
    write_bytes(folder / WEIGHTS, safetensors.torch.save(expert.tensors()))
    write_json(folder / CARD, expert.card.model_dump(mode="json"))
    keys = expert.key_vectors()
    if keys is not None:
        write_bytes(folder / KEYS, safetensors.numpy.save({"keys": keys}))


def _text_experts(folder: Path) -> list[Parcel]:
    file = build(TextModelFile, read_yaml(folder / TEXT_FILE), folder / TEXT_FILE)
    found = []
    for name in file.experts:
        check_name(name)
        place = folder / "experts" / name
        tensors = _tensors(place / WEIGHTS) if (place / WEIGHTS).exists() else {}
        found.append(Parcel(name, tensors, _checked(_card(place), file, place)))
    return found


def _encoder_experts(folder: Path) -> list[Parcel]:
    path = folder / "model.json"
    file = build(ModelFile, read_yaml(path), path)
    shared = _tensors(folder / "shared.safetensors") if file.pooler == "shared" else {}
    pooler = {f"{HEAD}{key}": tensor for key, tensor in shared.items() if key.startswith("pooler.")}
    found = []
    for task in (build(Task, record, path) for record in file.tasks):
        place = folder / "experts" / task.name
        tensors = {key.removeprefix(_MODULE): value for key, value in _tensors(place / WEIGHTS).items()}
        head = HeadCard(pooling=file.pooling, output=task.output)
        card = _checked(_card(place), file, place).model_copy(update={"head": head})
        found.append(Parcel(task.name, tensors | pooler, card))
    return found


def _checked(card: Card, file: ModelFile | TextModelFile, place: Path) -> Card:
    """The card with all settings of its method. Raises UserError when it is not of the model's method or backbone."""
    if not file.tuned and card.backbone_fingerprint != file.backbone_fingerprint:
        raise UserError(
            f"names a backbone with fingerprint {card.backbone_fingerprint}, the model {file.backbone_fingerprint}",
            where=place / CARD,
            fix="train the model again",
        )
    method = method_record(parse_method(card.method, f"{place / CARD}: method"))
    if method != method_record(parse_method(file.method)):
        raise UserError("names another method than the model's", where=place / CARD, fix="train the model again")
    return card.model_copy(update={"method": method})


def _card(folder: Path) -> Card:
    return build(Card, read_yaml(folder / CARD), folder / CARD)


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.is_symlink():
        raise UserError("a link, which may lead anywhere", where=path, fix="give the file itself")
    try:
        return parse_tensors(path.read_bytes(), path)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=path) from None
