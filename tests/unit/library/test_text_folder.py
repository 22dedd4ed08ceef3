"""Folders of text models: saved = loaded, and one line for what is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from multigraft.backbones.load import load_backbone
from multigraft.errors import UserError
from multigraft.library.card import Card
from multigraft.library.text_folder import (
    FILE,
    TextModelFile,
    build_text_model,
    load_text_model,
    save_text_model,
    trained_folder,
)
from multigraft.methods.base import method_record, parse_method
from multigraft.methods.text_model import TextModel

LORA = method_record(parse_method("lora"))


@pytest.fixture(params=[True, False], ids=["tuned", "frozen"])
def saved(
    request: pytest.FixtureRequest, backbone_folder: Callable[..., str], tmp_path: Path
) -> tuple[TextModel, Path]:
    """A model with changed weights, and its folder."""
    name, tuned = backbone_folder("t5"), request.param
    backbone = load_backbone(name)
    file = TextModelFile(
        backbone=name, backbone_fingerprint=backbone.fingerprint, pretrained=True, seed=0, tuned=tuned, method=LORA,
        max_input=20, max_target=8, precision="fp32", experts=("a", "b"),
    )  # fmt: skip
    model = build_text_model(backbone, file.experts, LORA, tuned=tuned, seed=0)
    with torch.no_grad():
        model.bank.stack.values.normal_()
        if tuned:
            next(backbone.model.parameters()).add_(1.0)
    card = Card(
        task="t", method=LORA, backbone=name, backbone_fingerprint="", tokenizer_fingerprint="", data_fingerprint="",
        template="all", seed=0, steps=1, scores={}, licence="", parents=(), versions={},
    )  # fmt: skip
    save_text_model(tmp_path / "model", model, file, {"a": card, "b": card})
    return model, tmp_path / "model"


def test_what_is_saved_is_loaded(saved: tuple[TextModel, Path]) -> None:
    model, folder = saved
    found, file = load_text_model(folder)
    assert found.names == ["a", "b"]
    assert torch.equal(found.bank.stack.values, model.bank.stack.values)
    for (name, one), (same, other) in zip(model.shared(), found.shared(), strict=True):
        assert name == same
        assert torch.equal(one, other)
    assert (folder / "shared.safetensors").exists() == file.tuned
    assert trained_folder(str(folder)) == trained_folder(str(folder.parent)) == folder
    assert trained_folder(str(folder / "experts")) is None


def test_what_is_damaged_is_named(saved: tuple[TextModel, Path]) -> None:
    _, folder = saved
    weights = folder / "experts/b/weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:40])
    with pytest.raises(UserError, match=r"b/weights\.safetensors: damaged"):
        load_text_model(folder)
    weights.unlink()
    with pytest.raises(UserError, match="the file is missing"):
        load_text_model(folder)
    weights.write_bytes(whole)
    record = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps(record | {"backbone_fingerprint": "other"}))
    with pytest.raises(UserError, match="was trained on other"):
        load_text_model(folder)
    (folder / FILE).unlink()
    with pytest.raises(UserError, match="not a text model"):
        load_text_model(folder)
