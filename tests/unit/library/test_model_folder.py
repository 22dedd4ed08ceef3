from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from multigraft.backbones.load import load_backbone
from multigraft.batching.encode import encode
from multigraft.errors import UserError
from multigraft.evaluation.scoring import predict_tasks
from multigraft.library.card import Card
from multigraft.library.model_folder import ModelFile, build_model, find_models, load_model, save_model
from multigraft.methods.joint import JointModel
from multigraft.tasks.suite import load_suite
from multigraft.tasks.task import Task

NAMES = ("feeling", "amount", "pick")
Save = Callable[..., tuple[Path, JointModel]]


@pytest.fixture(scope="module")
def tasks(tiny_suite: str) -> dict[str, Task]:
    return load_suite(tiny_suite).subset(NAMES).tasks


def card(name: str) -> Card:
    return Card(
        task=name, method={"name": "pal"}, backbone="b", backbone_fingerprint="f", tokenizer_fingerprint="t",
        data_fingerprint="d", template=None, seed=0, steps=1, scores={"accuracy": 50.0}, licence="CC0", parents=(),
        versions={},
    )  # fmt: skip


@pytest.fixture
def save(tasks: dict[str, Task], backbone_folder: Callable[..., str], tmp_path: Path) -> Save:
    """A maker of model folders with everything that can be trained shaken, and the models in them."""

    def make(
        family: str = "bert", method: Any = "low_rank", tuned: bool = True, pooler: Any = "shared", **changes: Any
    ) -> tuple[Path, JointModel]:
        name = backbone_folder(family)
        backbone = load_backbone(name)
        file = ModelFile(
            **{
                "suite": "tiny", "backbone": name, "backbone_fingerprint": backbone.fingerprint, "pretrained": True,
                "seed": 3, "tuned": tuned, "pooling": "first", "pooler": pooler, "method": {"name": method},
                "max_length": 40, "precision": "fp32",
                "tasks": tuple(task.model_dump(mode="json", exclude_none=True) for task in tasks.values()), **changes,
            }
        )  # fmt: skip
        model = build_model(
            backbone, list(tasks.values()), file.method, pooling="first", pooler=pooler, tuned=tuned, seed=3
        )
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        folder = tmp_path / "model"
        save_model(folder, model.eval(), file, {task: card(task) for task in NAMES})
        return folder, model

    return make


@pytest.mark.parametrize(
    ("family", "method", "tuned", "pooler"),
    [
        ("bert", "pal", True, "shared"),
        ("bert", "heads_only", True, "shared"),
        ("bert", "low_rank", False, "per_task"),
        ("roberta", "lora", False, "shared"),
        ("modernbert", "adapter", True, "shared"),
        ("modernbert", "lhuc", False, "shared"),
        ("distilbert", "low_rank", False, "none"),
    ],
)
def test_a_loaded_model_answers_as_the_saved_one(
    save: Save, tasks: dict[str, Task], family: str, method: str, tuned: bool, pooler: str
) -> None:
    folder, model = save(family, method, tuned, pooler)
    loaded, found, file = load_model(folder)
    assert list(found) == loaded.names == list(NAMES)
    assert [task.model_dump() for task in found.values()] == [task.model_dump() for task in tasks.values()]
    assert file.method == {"name": method}
    assert not loaded.training
    data = {
        name: encode(task, task.examples("validation"), model.backbone.tokenizer, 40) for name, task in tasks.items()
    }
    mine, theirs = predict_tasks(model, data, "fp32"), predict_tasks(loaded, data, "fp32")
    assert all(np.array_equal(mine[name], theirs[name]) for name in NAMES)
    assert np.ptp(mine["amount"]) > 0
    shared = folder / "shared.safetensors"
    assert shared.exists() is (tuned or pooler == "shared")
    if not tuned and shared.exists():
        assert set(load_file(shared)) == {"pooler.weight", "pooler.bias"}


def test_every_expert_lies_by_itself_with_its_card(save: Save) -> None:
    folder, model = save()
    for name in NAMES:
        tensors = load_file(folder / "experts" / name / "weights.safetensors")
        assert torch.equal(tensors["head.weight"], model.heads.expert(name)["weight"])
        assert len(tensors["head.bias"]) == {"feeling": 2, "amount": 1, "pick": 1}[name]
        assert sum(tensor.numel() for tensor in tensors.values()) == model.parameters_of(name)
        assert Card.model_validate_json((folder / "experts" / name / "card.json").read_text()) == card(name)


def test_a_new_model_takes_the_place_of_the_old_one(save: Save) -> None:
    save(method="pal")
    folder, _ = save(method="lhuc")
    assert load_model(folder)[2].method == {"name": "lhuc"}
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_the_folder_may_be_moved(save: Save, tmp_path: Path) -> None:
    folder, _ = save()
    shutil.move(folder, tmp_path / "elsewhere")
    assert load_model(tmp_path / "elsewhere")[0].names == list(NAMES)


def edit(path: str, key: str, value: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        record = json.loads((folder / path).read_text())
        record[key] = value
        (folder / path).write_text(json.dumps(record))

    return damage


def cut(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).write_bytes((folder / path).read_bytes()[:-9])


def remove(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).unlink()


def tensors(path: str, **changed: torch.Tensor | None) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        found: dict[str, torch.Tensor | None] = {**load_file(folder / path), **changed}
        save_file({key: tensor for key, tensor in found.items() if tensor is not None}, folder / path)

    return damage


WEIGHTS = "experts/amount/weights.safetensors"
FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no model.json": (remove("model.json"), "model: not a model folder: model.json is missing"),
    "model.json cut": (cut("model.json"), "model.json:[0-9]+: not valid YAML"),
    "unknown key": (edit("model.json", "poling", "mean"), "model.json: unknown key 'poling'; did you mean 'pooling'"),
    "unknown method": (edit("model.json", "method", {"name": "loraa"}), "unknown method 'loraa'.*'lora'"),
    "unknown backbone": (edit("model.json", "backbone", "/no/where"), "/no/where: cannot load the backbone"),
    "another backbone": (
        edit("model.json", "backbone_fingerprint", "abc"),
        "model.json: the backbone .* has fingerprint [0-9a-f]{64}, the model was trained on abc",
    ),
    "another width": (
        edit("model.json", "method", {"name": "low_rank", "width": 5}),
        "experts/feeling/weights.safetensors: tensor .* expected",
    ),
    "no expert": (remove(WEIGHTS), "amount/weights.safetensors: the file is missing"),
    "expert cut": (cut(WEIGHTS), "amount/weights.safetensors: damaged"),
    "expert's tensor gone": (tensors(WEIGHTS, **{"head.bias": None}), "amount/weights.safetensors: tensor 'bias' is"),
    "expert's tensor of no shape": (
        tensors(WEIGHTS, **{"head.bias": torch.tensor(1.0)}),
        "amount/weights.safetensors: tensor 'bias' is",
    ),
    "unknown tensor": (tensors(WEIGHTS, tail=torch.zeros(1)), "amount/weights.safetensors: unknown tensor 'tail'"),
    "unknown module tensor": (
        tensors(WEIGHTS, **{"module.tail": torch.zeros(1)}),
        "amount/weights.safetensors: tensor 'tail' is",
    ),
    "no shared weights": (remove("shared.safetensors"), "shared.safetensors: the file is missing"),
    "shared weights cut": (cut("shared.safetensors"), "shared.safetensors: damaged"),
    "shared tensor gone": (tensors("shared.safetensors", **{"pooler.bias": None}), "shared.safetensors: the tensors"),
}


@pytest.mark.parametrize(("damage", "said"), FAULTS.values(), ids=FAULTS)
def test_a_damaged_folder_is_one_line(save: Save, damage: Callable[[Path], None], said: str) -> None:
    folder, _ = save()
    damage(folder)
    with pytest.raises(UserError, match=said) as error:
        load_model(folder)
    assert "\n" not in str(error.value)


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Callable[..., list[str]]]:
    def find(*models: str) -> list[str]:
        for model in models:
            (tmp_path / model).mkdir(parents=True)
            (tmp_path / model / "model.json").touch()
        return [str(place.relative_to(tmp_path)) for place in find_models(tmp_path)]

    return find


def test_models_are_found_where_runs_leave_them(places: Callable[..., list[str]]) -> None:
    assert places("b/model", "a/model") == ["a/model", "b/model"]
    assert places("model") == ["model"]


def test_no_model_is_one_line(places: Callable[..., list[str]]) -> None:
    with pytest.raises(UserError, match="no model in here"):
        places()
