"""From what `train` wrote into a library: everything comes along, and what does not fit together is refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multigraft.backbones.load import Backbone, load_backbone
from multigraft.batching.collate import collate
from multigraft.batching.encode import encode
from multigraft.errors import UserError
from multigraft.library.card import Card, tokenizer_fingerprint
from multigraft.library.load import load_experts, load_joint
from multigraft.library.model_folder import ModelFile, build_model, save_model
from multigraft.library.parcel import add_all, read_experts, read_parcel, write_parcel
from multigraft.library.store import Library
from multigraft.library.text_folder import TextModelFile, build_text_model, save_text_model
from multigraft.methods.joint import JointModel
from multigraft.tasks.suite import load_suite
from multigraft.tasks.task import Task

MakeCard = Callable[..., Card]
NAMES = ("feeling", "amount", "animal")
LORA = {"name": "lora", "rank": 2}


def shake(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


@pytest.fixture(scope="module")
def tasks(tiny_suite: str) -> dict[str, Task]:
    return load_suite(tiny_suite).subset(NAMES).tasks


@pytest.fixture
def encoder(
    tasks: dict[str, Task], backbone_folder: Callable[..., str], make_card: MakeCard, tmp_path: Path
) -> Callable[..., tuple[Path, JointModel]]:
    """A maker of model folders of a frozen or tuned encoder, shaken, and the models in them."""

    def make(pooler: Any = "shared", tuned: bool = False, method: Any = LORA) -> tuple[Path, JointModel]:
        name = backbone_folder("bert")
        backbone = load_backbone(name)
        file = ModelFile(
            suite="tiny", backbone=name, backbone_fingerprint=backbone.fingerprint, pretrained=True, seed=0,
            tuned=tuned, pooling="mean", pooler=pooler, method=method, max_length=40, precision="fp32",
            tasks=tuple(task.model_dump(mode="json", exclude_none=True) for task in tasks.values()),
        )  # fmt: skip
        options: Any = {"pooling": "mean", "pooler": pooler, "tuned": tuned, "seed": 0}
        model = build_model(backbone, list(tasks.values()), method, **options)
        shake(model)
        fingerprint = backbone.weights_fingerprint()
        cards = {n: make_card(task=n, **about(backbone, method) | {"backbone_fingerprint": fingerprint}) for n in NAMES}
        save_model(tmp_path / "model", model.eval(), file, cards)
        return tmp_path / "model", model

    return make


def about(backbone: Backbone, method: Any) -> dict[str, Any]:
    return {
        "method": method, "backbone": backbone.name, "backbone_fingerprint": backbone.fingerprint,
        "tokenizer_fingerprint": tokenizer_fingerprint(backbone.tokenizer),
    }  # fmt: skip


@pytest.mark.parametrize("pooler", ["shared", "per_task", "none"])
def test_experts_of_an_encoder_answer_as_in_their_model(
    encoder: Callable[..., tuple[Path, JointModel]], tasks: dict[str, Task], memory_folder: Path, pooler: str
) -> None:
    folder, model = encoder(pooler)
    library = Library.create(memory_folder)
    add_all(library, read_experts(folder))
    assert library.names() == tuple(sorted(NAMES))
    card = library.get("feeling").card
    assert card.head is not None
    assert (card.head.pooling, card.head.output) == ("mean", tasks["feeling"].output)
    assert card.method["alpha"] == 16.0  # all settings, not only those that were given
    chosen = ["amount", "feeling"]
    loaded = load_joint(library, chosen, load_backbone(card.backbone))
    tokenizer = model.backbone.tokenizer
    data = {name: encode(tasks[name], tasks[name].examples("validation"), tokenizer, 40) for name in chosen}
    for name in chosen:
        scores = []
        for asked in (model, loaded):
            rows = collate(
                [data.get(one, data[name]) for one in asked.names], [asked.names.index(name)] * 9, range(9), 0
            )
            with torch.inference_mode():
                scores.append(asked(rows)[:, : model.heads.outputs[name]])
        assert float(scores[0].std(dim=0).min()) > 1e-3
        torch.testing.assert_close(scores[1], scores[0])


def test_experts_of_a_text_model_come_without_heads(
    backbone_folder: Callable[..., str], make_card: MakeCard, tmp_path: Path
) -> None:
    name = backbone_folder("t5")
    backbone = load_backbone(name)
    file = TextModelFile(
        backbone=name, backbone_fingerprint=backbone.fingerprint, pretrained=True, seed=0, tuned=False, method=LORA,
        max_input=20, max_target=8, precision="fp32", experts=("a", "b"),
    )  # fmt: skip
    model = build_text_model(backbone, file.experts, LORA, tuned=False, seed=0)
    shake(model)
    card = make_card(**about(backbone, LORA))
    save_text_model(tmp_path / "run" / "model", model, file, {"a": card, "b": card})
    library = Library.create(tmp_path / "library")
    add_all(library, read_experts(tmp_path / "run"))
    assert library.get("b").card.head is None
    model.bank.detach()
    bank = load_experts(library, ["b", "a"], backbone)
    for expert in ("a", "b"):
        found, expected = bank.stack.expert(expert), model.bank.stack.expert(expert)
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    bank.detach()
    with pytest.raises(UserError, match="an expert called 'a' is here already"):
        add_all(library, read_experts(tmp_path / "run" / "model" / "experts" / "a"))
    text = tmp_path / "run" / "model" / "text_model.json"
    text.write_text(json.dumps(json.loads(text.read_text()) | {"experts": ["../experts/a"]}))
    with pytest.raises(UserError, match="not a name of an expert"):
        read_experts(tmp_path / "run")


def test_a_tuned_backbone_is_part_of_what_an_expert_was_trained_on(
    encoder: Callable[..., tuple[Path, JointModel]], memory_folder: Path
) -> None:
    folder, model = encoder(tuned=True)
    library = Library.create(memory_folder)
    add_all(library, read_experts(folder))
    model.bank.detach()
    assert load_joint(library, ["animal"], model.backbone).names == ["animal"]
    with pytest.raises(UserError, match="use the backbone it was trained on"):
        load_joint(library, ["animal"], load_backbone(model.backbone.name))


def test_what_does_not_fit_together_is_refused(encoder: Callable[..., tuple[Path, JointModel]], tmp_path: Path) -> None:
    folder, _ = encoder()
    card = folder / "experts/amount/card.json"
    record = json.loads(card.read_text())
    for changes, said in (
        (
            {"backbone_fingerprint": "0"},
            r"amount/card\.json: names a backbone with fingerprint 0, the model [0-9a-f]{64}",
        ),
        ({"method": {**LORA, "rank": 3}}, "names another method than the model's"),
        ({"taks": "x"}, "unknown key 'taks'; did you mean 'task'"),
    ):
        card.write_text(json.dumps(record | changes))
        with pytest.raises(UserError, match=said):
            read_experts(folder)
    card.write_text(json.dumps(record))
    weights = folder / "experts/amount/weights.safetensors"
    whole = weights.read_bytes()
    for data, said in ((pickle.dumps({}), "a pickle"), (whole[:20], "damaged")):
        weights.write_bytes(data)
        with pytest.raises(UserError, match=rf"weights\.safetensors: .*{said}"):
            read_experts(folder)
    weights.unlink()
    weights.symlink_to(tmp_path)
    with pytest.raises(UserError, match="a link"):
        read_experts(folder)
    weights.unlink()
    weights.write_bytes(whole)
    with pytest.raises(UserError, match="give the model's folder"):
        read_experts(weights.parent)
    with pytest.raises(UserError, match="no model in here"):
        read_experts(tmp_path / "experts")


def test_a_folder_of_one_expert_is_read_as_it_was_written(memory_folder: Path, make_card: MakeCard) -> None:
    library, keys = Library.create(memory_folder / "library"), np.eye(2, 3, dtype=np.float16)
    expert = library.add("a b", {"x": torch.rand(3), "head.bias": torch.rand(2)}, make_card(parents=("p",)), keys)
    write_parcel(memory_folder / "a b", expert)
    found = read_experts(memory_folder / "a b")[0]
    assert (found.name, found.card) == ("a b", expert.card)
    assert found.keys is not None
    assert np.array_equal(found.keys, keys)
    assert all(torch.equal(found.tensors[key], value) for key, value in expert.tensors().items())
    (memory_folder / "a b" / "keys.safetensors").write_bytes(
        (memory_folder / "a b" / "weights.safetensors").read_bytes()
    )
    with pytest.raises(UserError, match="expected one tensor 'keys'"):
        read_parcel(memory_folder / "a b", "a b")


def test_a_model_without_parameters_of_experts_has_none(
    backbone_folder: Callable[..., str], make_card: MakeCard, tmp_path: Path
) -> None:
    name = backbone_folder("t5")
    backbone = load_backbone(name)
    file = TextModelFile(
        backbone=name, backbone_fingerprint=backbone.fingerprint, pretrained=True, seed=0, tuned=True,
        method={"name": "heads_only"}, max_input=20, max_target=8, precision="fp32", experts=("a",),
    )  # fmt: skip
    model = build_text_model(backbone, file.experts, file.method, tuned=True, seed=0)
    save_text_model(tmp_path / "model", model, file, {"a": make_card(**about(backbone, file.method))})
    with pytest.raises(UserError, match="no expert in here has parameters of its own"):
        read_experts(tmp_path / "model")
