"""`multigraft library`: from a trained model into a library and out of it; one line and code 2 for bad input."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from multigraft.backbones.load import load_backbone
from multigraft.cli.common import run
from multigraft.cli.main import build_app
from multigraft.errors import UserError
from multigraft.library import hub
from multigraft.library.parcel import Parcel
from multigraft.library.peft_format import write_peft
from multigraft.library.store import Expert, Library
from multigraft.library.verify import SETTLED
from multigraft.methods.base import parse_method
from multigraft.methods.stack import fresh_tensors

CLI = build_app()
MakeRecipe = Callable[..., dict[str, Any]]


def library(*arguments: str) -> int:
    return run(CLI, ["library", *arguments])


@pytest.fixture
def trained(tiny_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the current folder: `run`, where two experts on a frozen backbone were trained."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    recipe = tiny_recipe(tasks=["feeling", "amount"], method={"name": "lora", "rank": 2}, training__steps=2)
    recipe["backbone"]["tuned"] = False
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert run(CLI, ["train", "recipe.yaml", "--output", "run", "--json"]) == 0


def test_from_training_to_a_checkpoint(trained: None, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert library("add", "lib", "run", "--json") == 0
    assert json.loads(capsys.readouterr().out) == ["feeling", "amount"]
    assert library("add", "lib", "run", "--expert", "amount", "--as", "second [b]") == 0
    assert "added second [b]" in capsys.readouterr().out
    assert library("list", "lib", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == ["amount", "feeling", "second [b]"]
    assert listed[0]["weights"] == listed[2]["weights"]
    assert listed[0]["card"]["method"]["rank"] == 2
    assert library("list", "lib", "--task", "amount") == 0
    out = capsys.readouterr().out
    assert "second [b]" in out
    assert "feeling" not in out
    assert library("show", "lib", "feeling") == 0
    assert "head.pooler.weight" in capsys.readouterr().out
    assert library("show", "lib", "feeling", "--json") == 0
    assert json.loads(capsys.readouterr().out)["tensors"]["head.weight"] == [2, 24]
    assert library("stats", "lib", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["experts"], found["tasks"], found["files"], found["methods"]) == (3, 2, 2, {"lora": 3})
    assert library("stats", "lib") == 0
    assert "lora 3" in capsys.readouterr().out
    assert library("export", "lib", "feeling", "peft") == 0
    assert library("import", "lib", "peft", "back", "--task", "feeling", "--licence", "MIT") == 0
    back, first = Library(Path("lib")).get("back"), Library(Path("lib")).get("feeling")
    assert (back.card.task, back.card.licence, back.card.head) == ("feeling", "MIT", None)
    module = {key: value for key, value in first.tensors().items() if not key.startswith("head.")}
    assert back.tensors().keys() == module.keys()
    assert all(torch.equal(back.tensors()[key], value) for key, value in module.items())
    assert library("remove", "lib", "amount", "back") == 0
    assert Library(Path("lib")).names() == ("feeling", "second [b]")
    assert library("verify", "lib") == 0
    assert "all is well: 2 experts" in capsys.readouterr().out


def test_verify_says_what_is_wrong_and_ends_with_1(trained: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert library("add", "lib", "run") == 0
    left = Path("lib/objects/aa") / f".{'a' * 64}.safetensors.1.2.tmp"
    left.parent.mkdir()
    left.write_bytes(b"x")
    os.utime(left, (0, left.stat().st_mtime - 2 * SETTLED))
    weights = Library(Path("lib")).objects.path(Library(Path("lib")).get("feeling").weights)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    capsys.readouterr()
    assert library("verify", "lib") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"damaged: objects/{weights.parent.name}/{weights.name}: ")
    assert lines[0].endswith("; affects feeling")
    assert lines[1].startswith("foreign: objects/aa/")
    assert library("verify", "lib", "--clean", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["deleted"] == [f"objects/aa/{left.name}"]
    assert [fault["experts"] for fault in found["faults"]] == [["feeling"]]
    assert library("show", "lib", "feeling") == 2
    assert "damaged" in capsys.readouterr().err
    assert library("list", "lib") == 0


def test_a_soft_prompt_comes_from_a_checkpoint(
    backbone_folder: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    backbone = load_backbone(backbone_folder("t5"))
    method = parse_method({"name": "soft_prompt", "length": 3, "init": "random"})
    tensors = fresh_tensors(method.specs(backbone), "a", 0)
    write_peft(Path("peft"), method, tensors, backbone, "moved/away")
    assert library("import", "lib", "peft", "a", "--backbone", backbone.name) == 0
    expert = Library(Path("lib")).get("a")
    assert torch.equal(expert.tensors()["prompt"], tensors["prompt"])
    assert expert.card.backbone_fingerprint == backbone.fingerprint
    assert expert.card.licence == "unknown"


def test_push_and_pull_are_handed_on(
    trained: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert library("add", "lib", "run") == 0
    pushed: dict[str, list[Expert]] = {}

    def push(store: Library, repository: str, names: list[str], *, private: bool) -> list[Expert]:
        assert private
        pushed[repository] = [store.get(name) for name in names or store.names()]
        return pushed[repository]

    def pull(repository: str, names: list[str], *, revision: str | None) -> list[Parcel]:
        if revision != "v1":
            raise UserError("no such revision", where=repository)
        return [Parcel(e.name, e.tensors(), e.card) for e in pushed[repository] if not names or e.name in names]

    monkeypatch.setattr(hub, "push", push)
    monkeypatch.setattr(hub, "pull", pull)
    capsys.readouterr()
    assert library("push", "lib", "me/x", "--private", "--json") == 0
    assert json.loads(capsys.readouterr().out) == ["amount", "feeling"]
    assert library("pull", "other", "me/x", "--expert", "amount", "--revision", "v1") == 0
    assert Library(Path("other")).names() == ("amount",)
    assert library("pull", "other", "me/x", "--revision", "v1") == 2
    assert "an expert called 'amount' is here already; add --replace" in capsys.readouterr().err
    assert library("pull", "other", "me/x", "--revision", "v1", "--replace") == 0
    assert library("pull", "third", "me/x") == 2
    assert not Path("third").exists()


def test_bad_input_is_one_line(trained: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert library("add", "lib", "run") == 0
    capsys.readouterr()
    for arguments, said in (
        (("list", "none"), "none: not a library of experts"),
        (("add", "new", "lib"), "lib: no model in here"),
        (("add", "lib", "run"), "an expert called 'feeling' is here already; add --replace"),
        (("add", "lib", "run", "--expert", "feelin"), "did you mean 'feeling'?"),
        (("add", "lib", "run", "--as", "x"), "--as x: one name for 2 experts"),
        (("add", "lib", "run", "--expert", "amount", "--as", "../x"), "not a name of an expert: '../x'"),
        (("add", "run", "run"), "the folder is not empty"),
        (("show", "lib", "amout"), "unknown expert 'amout'; did you mean 'amount'?"),
        (("remove", "lib", "amount", "x"), "unknown expert 'x'"),
        (("import", "lib", "run", "x"), "adapter_config.json is missing"),
        (("export", "lib", "amount", "run"), "there is something already"),
        (("export", "lib", "amount", "out", "--backbone", "none"), "none: cannot load the backbone"),
        (("add", "lib"), "Missing argument"),
    ):
        assert library(*arguments) == 2
        error = capsys.readouterr().err
        assert said in error, error
        assert len(error.splitlines()) == 1
    assert not Path("new").exists()
    assert Library(Path("lib")).names() == ("amount", "feeling")
