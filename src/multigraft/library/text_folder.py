"""A trained text model as a folder: shared weights once, every expert by itself with its card.

text_model.json                  what is needed to build it: backbone, method, lengths, experts
shared.safetensors               tuned backbone; absent when it is frozen
experts/NAME/weights.safetensors module of one expert; absent where experts have no parameters
experts/NAME/card.json
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from multigraft.backbones.load import Backbone
from multigraft.errors import UserError
from multigraft.files import new_folder, write_json
from multigraft.library.card import Card
from multigraft.library.model_folder import load_shared, load_started, read_tensors
from multigraft.methods.bank import Bank
from multigraft.methods.base import parse_method
from multigraft.methods.text_model import TextModel
from multigraft.settings import Record, build, read_yaml

FILE = "text_model.json"


class TextModelFile(Record):
    """`text_model.json`."""

    backbone: str
    backbone_fingerprint: str  # of the weights that training started from
    pretrained: bool
    seed: int
    tuned: bool
    method: dict[str, Any]
    max_input: int
    max_target: int
    precision: str
    experts: tuple[str, ...]


def build_text_model(
    backbone: Backbone, experts: Sequence[str], method: object, *, tuned: bool, seed: int
) -> TextModel:
    """A fresh text model with these experts, in their order. Raises UserError for an encoder."""
    backbone.text_format(1, 1)
    return TextModel(backbone, Bank(parse_method(method), backbone, experts, seed=seed), tuned=tuned)


def save_text_model(folder: Path, model: TextModel, file: TextModelFile, cards: Mapping[str, Card]) -> None:
    """Write a model folder; one that was there before is replaced only when the new one is complete."""
    with new_folder(folder) as new:
        write_json(new / FILE, file.model_dump(mode="json"))
        if model.tuned:
            save_file({n: p.detach().cpu().contiguous() for n, p in model.shared()}, new / "shared.safetensors")
        for name in model.names:
            place = new / "experts" / name
            place.mkdir(parents=True)
            tensors = {key: value.cpu().contiguous() for key, value in model.bank.stack.expert(name).items()}
            if tensors:
                save_file(tensors, place / "weights.safetensors")
            write_json(place / "card.json", cards[name].model_dump(mode="json"))


def trained_folder(name: str) -> Path | None:
    """The folder of the text model that `name` leads to: itself or its `model`; None when it leads to none."""
    places = (Path(name), Path(name) / "model")
    return next((place for place in places if (place / FILE).exists()), None)


def load_text_model(folder: Path) -> tuple[TextModel, TextModelFile]:
    """A trained text model and its settings.

    Raises UserError when the folder is not one, is damaged, or its backbone is not the one it was trained on.
    """
    path = folder / FILE
    if not path.exists():
        raise UserError(f"not a text model: {FILE} is missing", where=folder, fix="give the folder that train wrote")
    file = build(TextModelFile, read_yaml(path), path)
    backbone = load_started(path, file.backbone, file.pretrained, file.seed, file.backbone_fingerprint)
    model = build_text_model(backbone, file.experts, file.method, tuned=file.tuned, seed=file.seed)
    if file.tuned:
        load_shared(folder / "shared.safetensors", dict(model.shared()))
    for name in file.experts if model.bank.stack.width else ():
        model.bank.stack.load_expert(name, read_tensors(folder / "experts" / name / "weights.safetensors"))
    return model.eval(), file
