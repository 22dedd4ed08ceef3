"""Experts of a library and checkpoints of PEFT: what `multigraft library import` and `export` do."""

from __future__ import annotations

from pathlib import Path

from multigraft.backbones.load import Backbone, load_backbone
from multigraft.errors import UserError
from multigraft.library.card import Card, tokenizer_fingerprint
from multigraft.library.load import check_backbone, split_head
from multigraft.library.parcel import Parcel
from multigraft.library.peft_format import peft_backbone, read_peft, write_peft
from multigraft.library.store import Expert
from multigraft.methods.base import method_record, parse_method
from multigraft.runinfo import machine


def import_checkpoint(folder: Path, name: str, *, task: str, licence: str, backbone: str | None = None) -> Parcel:
    """A checkpoint of PEFT as an expert; `backbone` where it is not, or no longer, the one that it names.

    What PEFT does not record stays empty in the card: data, seed, steps and scores. Raises UserError as `read_peft`.
    """
    named = backbone or peft_backbone(folder)
    if not named:
        raise UserError("the checkpoint names no backbone", where=folder, fix="give it with --backbone")
    loaded = load_backbone(named)
    found = read_peft(folder, loaded)
    return Parcel(name, found.tensors, imported_card(found.method, loaded, task, licence, found.version))


def imported_card(method: object, backbone: Backbone, task: str, licence: str, version: str | None) -> Card:
    """The card of an expert that was trained elsewhere."""
    ours = {"multigraft": machine()["multigraft"]}
    return Card(
        task=task,
        method=method_record(parse_method(method)),
        backbone=backbone.name,
        backbone_fingerprint=backbone.fingerprint,
        tokenizer_fingerprint=tokenizer_fingerprint(backbone.tokenizer),
        data_fingerprint="",
        template=None,
        seed=0,
        steps=0,
        scores={},
        licence=licence,
        parents=(),
        versions=ours if version is None else ours | {"peft": version},
    )


def export_checkpoint(expert: Expert, folder: Path, *, backbone: str | None = None) -> None:
    """Write an expert as a checkpoint of PEFT, without a head; `backbone` where its own lies elsewhere by now.

    Raises UserError for another backbone than it was trained on, and as `write_peft`.
    """
    loaded = load_backbone(backbone or expert.card.backbone)
    check_backbone([expert], loaded)
    module, _ = split_head(expert.tensors())
    write_peft(folder, parse_method(expert.card.method), module, loaded)
