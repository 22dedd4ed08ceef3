"""PEFT's checkpoints: read as they were written, and refused where they mean something else."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.backbones.tiny import tiny_backbone, tiny_text_backbone
from multigraft.errors import UserError
from multigraft.library.peft_format import read_peft, write_peft
from multigraft.methods.bank import Bank, one_expert
from multigraft.methods.base import Method, parse_method

MAPS = ["q", "k", "v", "o", "up", "down"]
CROSS = ["cross_q", "cross_v"]


def backbone_of(family: str) -> Backbone:
    return tiny_backbone(family) if family in ("bert", "roberta") else tiny_text_backbone(family)


def expert(method: Any, backbone: Backbone) -> tuple[Method, dict[str, Tensor]]:
    bank = Bank(parse_method(method), backbone, ["one"])
    torch.nn.init.normal_(bank.stack.values, std=0.1)
    bank.detach()
    return bank.method, bank.stack.expert("one")


def update(backbone: Backbone, method: Method, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a LoRA adds to the output of every module for one input: by way of the bank's own hooks."""
    found: dict[str, Tensor] = {}
    bank = Bank(method, backbone, ["one"])
    bank.stack.load_expert("one", tensors)
    for i in range(backbone.depth):
        for part in MAPS:
            port = backbone.port(Site("linear", i, part))
            generator = torch.Generator().manual_seed(i)
            x = torch.randn(1, 3, backbone.linear(i, part)[0], generator=generator)
            plain = port.module(x)
            with torch.inference_mode(), bank.rows(*one_expert(0), torch.ones(1, 3)):
                found[f"{i}.{part}"] = port.module(x) - plain
    bank.detach()
    return found


@pytest.mark.parametrize(
    ("family", "maps", "layers"),
    [
        ("bert", MAPS, "every"),
        ("roberta", ["q", "down"], [0, 2]),
        ("llama", MAPS, "final_half"),
        ("t5", MAPS + CROSS, "every"),
        ("t5", ["q", "v"], "encoder"),
        ("bart", CROSS, "every"),
    ],
)
def test_a_lora_is_read_as_it_was_written(family: str, maps: list[str], layers: Any, tmp_path: Path) -> None:
    backbone = backbone_of(family)
    method, tensors = expert({"name": "lora", "rank": 3, "alpha": 7.0, "maps": maps, "layers": layers}, backbone)
    write_peft(tmp_path / "out", method, tensors, backbone, "hub/id")
    found = read_peft(tmp_path / "out", backbone)
    assert found.backbone == "hub/id"
    assert found.tensors.keys() == tensors.keys()
    assert all(torch.equal(found.tensors[key], tensors[key]) for key in tensors)
    assert found.method.specs(backbone) == method.specs(backbone)
    assert found.method.alpha == pytest.approx(7.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
@pytest.mark.parametrize("maps", [["q"], ["v", "k"], MAPS])
def test_maps_fused_in_one_module_do_the_same(family: str, maps: list[str], tmp_path: Path) -> None:
    backbone = backbone_of(family)
    method, tensors = expert({"name": "lora", "rank": 2, "maps": maps}, backbone)
    write_peft(tmp_path / "out", method, tensors, backbone)
    weights = load_file(tmp_path / "out" / "adapter_model.safetensors")
    fused = next(key for key in weights if "c_attn.lora_A" in key or "query_key_value.lora_A" in key)
    assert len(weights[fused]) == 2 * len(set(maps) & {"q", "k", "v"})
    found = read_peft(tmp_path / "out", backbone)
    expected, again = update(backbone, method, tensors), update(backbone, found.method, found.tensors)
    assert any(float(value.abs().max()) > 1e-2 for value in expected.values())
    for key, value in expected.items():
        torch.testing.assert_close(again[key], value, rtol=1e-5, atol=1e-6)


def checkpoint(folder: Path, tensors: dict[str, Tensor], **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    record = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "base_model_name_or_path": "hub/id", **config}
    (folder / "adapter_config.json").write_text(json.dumps(record))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def lora(module: str, rank: int, inputs: int = 24, outputs: int = 24) -> dict[str, Tensor]:
    name = f"base_model.model.{module}"
    return {f"{name}.lora_A.weight": torch.randn(rank, inputs), f"{name}.lora_B.weight": torch.randn(outputs, rank)}


def test_ranks_scales_and_places_of_their_own(tmp_path: Path) -> None:
    backbone = tiny_backbone("bert")
    query, up = "bert.encoder.layer.0.attention.self.query", "bert.encoder.layer.2.intermediate.dense"
    tensors = lora(query, 2) | lora(up, 3, 24, 40)
    folder = checkpoint(tmp_path / "c", tensors, alpha_pattern={r"intermediate\.dense": 9}, lora_dropout=0.1)
    found = read_peft(folder, backbone)
    assert found.method.model_dump()["maps"] == ("q", "up")
    assert found.method.model_dump()["layers"] == (0, 2)
    for module, key, scale in ((query, "0.q", 3.0), (up, "2.up", 3.0)):
        a, b = (tensors[f"base_model.model.{module}.lora_{side}.weight"] for side in "AB")
        ours = found.tensors[f"{key}.b"] @ found.tensors[f"{key}.a"] * (found.method.alpha / found.method.rank)  # type: ignore[attr-defined]
        torch.testing.assert_close(ours, b @ a * scale)
    assert not found.tensors["0.up.b"].any()
    assert not found.tensors["2.q.a"].any()
    found = read_peft(checkpoint(tmp_path / "c", tensors, use_rslora=True), backbone)
    a, b = (tensors[f"base_model.model.{up}.lora_{side}.weight"] for side in "AB")
    ours = found.tensors["2.up.b"] @ found.tensors["2.up.a"] * (found.method.alpha / found.method.rank)  # type: ignore[attr-defined]
    torch.testing.assert_close(ours, b @ a * 6 / math.sqrt(3))


@pytest.mark.parametrize("family", ["t5", "llama", "bert"])
def test_a_soft_prompt_is_read_as_it_was_written(family: str, tmp_path: Path) -> None:
    backbone = backbone_of(family)
    method, tensors = expert({"name": "soft_prompt", "length": 4, "init": "random"}, backbone)
    write_peft(tmp_path / "out", method, tensors, backbone)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["num_virtual_tokens"], config["token_dim"], config["num_transformer_submodules"]) == (4, 24, 1)
    found = read_peft(tmp_path / "out", backbone)
    assert found.method == method
    assert torch.equal(found.tensors["prompt"], tensors["prompt"])


QUERY = "encoder.layer.0.attention.self.query"


@pytest.mark.parametrize(
    ("tensors", "config", "said"),
    [
        (lora(QUERY, 2), {"use_dora": True}, "a LoRA with use_dora = True"),
        (lora(QUERY, 2), {"bias": "all"}, "a LoRA with bias = 'all'"),
        (lora(QUERY, 2), {"modules_to_save": ["classifier"]}, "modules_to_save"),
        (lora(QUERY, 2), {"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa'"),
        (lora(QUERY, 2), {"peft_type": "IA3"}, "a checkpoint of IA3"),
        (lora(QUERY, 2), {"lora_alpha": None}, "'lora_alpha' or 'alpha_pattern' is missing or no number"),
        (lora(QUERY, 2), {"alpha_pattern": {"(": 1}}, "'lora_alpha' or 'alpha_pattern'"),
        (lora("encoder.layer.9.attention.self.query", 2), {}, "no linear map of tiny-bert"),
        (lora(QUERY, 2) | lora(f"other.{QUERY}", 2), {}, "or is named twice"),
        (lora(QUERY, 2, 23), {}, "is 24 x 2 by 2 x 23, the map 24 x 24; give the backbone"),
        (lora(QUERY, 2, 24, 25), {}, "is 25 x 2 by 2 x 24"),
        (dict(list(lora(QUERY, 2).items())[:1]), {}, "half of the LoRA on 'encoder.layer.0.attention.self.query'"),
        ({"base_model.model.classifier.weight": torch.ones(2, 2)}, {}, "is no part of a LoRA on linear maps"),
        ({}, {}, "holds no LoRA"),
        (
            {"prompt_embeddings": torch.ones(3, 23)},
            {"peft_type": "PROMPT_TUNING"},
            "expected prompt_embeddings of P x 24",
        ),
        ({}, {"peft_type": "PROMPT_TUNING"}, "holds nothing"),
    ],
)
def test_what_is_none_of_ours_is_refused(
    tensors: dict[str, Tensor], config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        read_peft(checkpoint(tmp_path / "c", tensors, **config), tiny_backbone("bert"))
    assert said in str(error.value)


def test_a_prompt_of_two_stacks_and_files_that_are_none(tmp_path: Path) -> None:
    t5 = tiny_text_backbone("t5")
    folder = checkpoint(tmp_path / "c", {"prompt_embeddings": torch.ones(6, 24)}, peft_type="PROMPT_TUNING")
    with pytest.raises(UserError, match="a prompt for the decoder too"):
        read_peft(folder, t5)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_peft(folder, t5)
    (folder / "adapter_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(UserError, match=r"adapter_model\.bin: a pickle, which is never opened"):
        read_peft(folder, t5)
    with pytest.raises(UserError, match=r"adapter_config\.json is missing"):
        read_peft(tmp_path, t5)
    method, tensors = expert("lhuc", tiny_backbone("bert"))
    with pytest.raises(UserError, match="PEFT has no lhuc of this form; export a lora or a soft_prompt"):
        write_peft(tmp_path / "out", method, tensors, tiny_backbone("bert"))
    with pytest.raises(UserError, match="there is something already"):
        write_peft(folder, method, tensors, t5)
