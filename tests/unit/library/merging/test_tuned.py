"""Tuned models merged as folders: the shared weights from the backbone on, tasks together, and what does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from multigraft.backbones.load import load_backbone
from multigraft.errors import UserError
from multigraft.library.card import Card
from multigraft.library.merging.base import parse_merge
from multigraft.library.merging.tuned import Tuned, merge_tuned, open_tuned
from multigraft.library.model_folder import ModelFile, build_model, load_model, save_model
from multigraft.library.text_folder import TextModelFile, build_text_model, load_text_model, save_text_model
from multigraft.methods.base import method_record, parse_method
from multigraft.methods.joint import JointModel
from multigraft.methods.text_model import TextModel
from multigraft.tasks.suite import load_suite

MakeCard = Callable[..., Card]
Save = Callable[..., Tuned]


def shake(model: JointModel | TextModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)


@pytest.fixture
def joint(tiny_suite: str, backbone_folder: Callable[..., str], make_card: MakeCard, tmp_path: Path) -> Save:
    """A maker of tuned models of some tasks."""
    suite = load_suite(tiny_suite)

    def make(seed: int, names: tuple[str, ...], **changes: Any) -> Tuned:
        tasks = suite.subset(names).tasks
        name = backbone_folder("bert")
        backbone = load_backbone(name)
        values = {
            "suite": "tiny", "backbone": name, "backbone_fingerprint": backbone.fingerprint, "pretrained": True,
            "seed": seed, "tuned": True, "pooling": "first", "pooler": "shared", "method": {"name": "low_rank"},
            "max_length": 40, "precision": "fp32",
            "tasks": tuple(task.model_dump(mode="json", exclude_none=True) for task in tasks.values()),
        }  # fmt: skip
        file = ModelFile(**values | changes)  # type: ignore[arg-type]
        model = build_model(
            backbone, list(tasks.values()), file.method, pooling="first", pooler=file.pooler, tuned=True, seed=3
        )
        shake(model, seed)
        save_model(tmp_path / f"m{seed}", model, file, {task: make_card(task=task) for task in names})
        return open_tuned(tmp_path / f"m{seed}")

    return make


@pytest.fixture
def text(backbone_folder: Callable[..., str], make_card: MakeCard, tmp_path: Path) -> Save:
    """A maker of tuned text models."""

    def make(seed: int, names: tuple[str, ...]) -> Tuned:
        name, method = backbone_folder("t5"), method_record(parse_method("heads_only"))
        backbone = load_backbone(name)
        file = TextModelFile(
            backbone=name, backbone_fingerprint=backbone.fingerprint, pretrained=True, seed=0, tuned=True,
            method=method, max_input=20, max_target=8, precision="fp32", experts=names,
        )  # fmt: skip
        model = build_text_model(backbone, names, method, tuned=True, seed=0)
        shake(model, seed)
        save_text_model(tmp_path / f"t{seed}", model, file, {expert: make_card() for expert in names})
        return open_tuned(tmp_path / f"t{seed}")

    return make


def test_tasks_come_together_on_merged_weights(joint: Save, tmp_path: Path) -> None:
    parts = [joint(1, ("feeling", "amount")), joint(2, ("amount", "animal"))]
    found = merge_tuned(parse_merge("task_arithmetic", {"scale": 0.5}), parts, tmp_path / "out", weights=[3, 1])
    merged, tasks, file = load_model(tmp_path / "out")
    first, second = (load_model(part.folder)[0] for part in parts)
    assert list(tasks) == ["feeling", "amount", "animal"]
    assert file.suite == "tiny"
    before = dict(load_backbone(file.backbone).model.named_parameters())
    for (name, got), (_, one), (_, two) in zip(merged.shared(), first.shared(), second.shared()):
        if name.startswith("encoder."):
            base = before[name.removeprefix("encoder.")]
            torch.testing.assert_close(got, base + 1.5 * (one - base) + 0.5 * (two - base), rtol=1e-5, atol=1e-6)
    for stacks in ("bank", "heads"):
        got, one, two = (model.stacks[stacks] for model in (merged, first, second))
        for name, kept in (("feeling", one), ("animal", two)):
            assert all(torch.equal(got.expert(name)[key][: len(value)], value[: len(got.expert(name)[key])])
                       for key, value in kept.expert(name).items())  # fmt: skip
    one, two = first.heads.expert("amount"), second.heads.expert("amount")
    shared = {key: 0.75 * value + 0.25 * two[key] for key, value in one.items()}
    torch.testing.assert_close(merged.heads.expert("amount"), shared)
    card = json.loads((tmp_path / "out/experts/amount/card.json").read_text())
    assert (card["parents"], card["scores"]) == (["m1", "m2"], {})
    assert card["backbone_fingerprint"] == merged.backbone.weights_fingerprint()
    assert found.interference is not None
    assert found.interference.overall.conflicts == pytest.approx(0.5, abs=0.1)


def test_text_models_are_merged(text: Save, tmp_path: Path) -> None:
    parts = [text(1, ("all",)), text(2, ("all",))]
    merge_tuned(parse_merge("uniform"), parts, tmp_path / "out")
    merged, file = load_text_model(tmp_path / "out")
    assert file.experts == ("all",)
    first, second = (load_text_model(part.folder)[0] for part in parts)
    for (_, got), (_, one), (_, two) in zip(merged.shared(), first.shared(), second.shared()):
        torch.testing.assert_close(got, (one + two) / 2, rtol=1e-5, atol=1e-6)


def test_models_of_other_kinds_are_refused(joint: Save, text: Save, tmp_path: Path) -> None:
    one, uniform = joint(1, ("feeling",)), parse_merge("uniform")
    other_labels = joint(4, ("feeling",))
    path = other_labels.folder / "model.json"
    record = json.loads(path.read_text())
    record["tasks"][0]["output"]["choices"] = ["poor", "fine"]
    path.write_text(json.dumps(record))
    for other, message in (
        (joint(2, ("amount",), method={"name": "pal"}), "m2: has method"),
        (joint(3, ("amount",), pooler="none"), "m3: has pooler 'none'"),
        (text(5, ("all",)), "t5: has backbone_fingerprint"),
        (open_tuned(other_labels.folder), "the task 'feeling' has other answers"),
    ):
        with pytest.raises(UserError, match=message):
            merge_tuned(uniform, [one, other], tmp_path / "out")
        assert not (tmp_path / "out").exists()
