"""`multigraft merge`: what each kind of model gives, what is printed, and one line for bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from multigraft.backbones.load import load_backbone
from multigraft.cli.common import run
from multigraft.cli.main import build_app
from multigraft.library.card import Card
from multigraft.library.parcel import read_experts
from multigraft.library.store import Library
from multigraft.library.text_folder import TextModelFile, build_text_model, save_text_model
from multigraft.methods.base import method_record, parse_method

CLI = build_app()


def merge(*arguments: str) -> int:
    return run(CLI, ["merge", *arguments])


def lora(seed: int, rank: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"0.q.a": torch.randn(rank, 6, generator=generator), "0.q.b": torch.randn(5, rank, generator=generator)}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


@pytest.fixture
def card() -> Card:
    return Card(
        task="t", method={"name": "lora", "rank": 2}, backbone="b", backbone_fingerprint="f", tokenizer_fingerprint="k",
        data_fingerprint="d", template=None, seed=0, steps=1, scores={}, licence="CC0", parents=(), versions={},
    )  # fmt: skip


@pytest.fixture
def library(place: Path, card: Card) -> Library:
    library = Library.create(place / "lib")
    library.add("one", lora(1), card)
    library.add("two", lora(2, 4), card.model_copy(update={"method": {"name": "lora", "rank": 4}}))
    return library


def test_experts_of_a_library_give_an_expert(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    assert merge("task_arithmetic", "lib:one", "lib:two", "--output", "sum", "--set", "scale=1", "--rank", "5") == 0
    out = capsys.readouterr().out
    assert "Cosine between task vectors" in out
    assert "Sign conflicts: " in out
    assert "Relative error of rank 5: 0.0 %" in out
    assert "In sum: 2 models merged by task_arithmetic" in out
    (made,) = read_experts(Path("sum"))
    assert (made.name, made.card.parents, made.card.method["rank"]) == ("sum", ("one", "two"), 5)
    expected = 8 * lora(1)["0.q.b"] @ lora(1)["0.q.a"] + 4 * lora(2, 4)["0.q.b"] @ lora(2, 4)["0.q.a"]
    torch.testing.assert_close(16 / 5 * made.tensors["0.q.b"] @ made.tensors["0.q.a"], expected, rtol=1e-4, atol=1e-4)
    assert run(CLI, ["library", "add", "lib", "sum"]) == 0
    capsys.readouterr()
    assert merge("uniform", "lib:sum", "sum", "--output", "again", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads(Path("again/merge.json").read_text())
    assert (report["method"], report["models"], report["weights"]) == (
        {"name": "uniform"},
        ["lib:sum", "sum"],
        [0.5] * 2,
    )
    assert report["interference"]["overall"]["conflicts"] == 0
    assert report["rank"] == 5
    assert report["error"] < 1e-6


@pytest.fixture
def text_folder(place: Path, backbone_folder: Callable[..., str], card: Card) -> Callable[..., Path]:
    """A maker of text models as `train` writes them."""

    def make(name: str, *, tuned: bool, seed: int, method: Any = "lora") -> Path:
        source, record = backbone_folder("t5"), method_record(parse_method(method))
        backbone = load_backbone(source)
        fingerprint = backbone.fingerprint
        file = TextModelFile(
            backbone=source, backbone_fingerprint=fingerprint, pretrained=True, seed=0, tuned=tuned, method=record,
            max_input=20, max_target=8, precision="fp32", experts=("x", "y"),
        )  # fmt: skip
        model = build_text_model(backbone, file.experts, record, tuned=tuned, seed=0)
        with torch.no_grad():
            model.bank.stack.values.normal_(generator=torch.Generator().manual_seed(seed))
            if tuned:
                next(backbone.model.parameters()).add_(float(seed))
        cards = {key: card.model_copy(update={"method": record, "backbone_fingerprint": fingerprint}) for key in "xy"}
        save_text_model(place / name / "model", model, file, cards)
        return place / name

    return make


def test_trained_folders_are_understood(text_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    text_folder("run", tuned=False, seed=1)
    assert merge("ties", "run:x", "run:y", "--output", "out", "--set", "keep=0.5") == 0
    assert {key.rpartition(".")[2] for key in read_experts(Path("out"))[0].tensors} == {"a", "b"}
    for name, seed in (("t1", 1), ("t2", 3)):
        text_folder(name, tuned=True, seed=seed, method="heads_only")
    capsys.readouterr()
    assert merge("uniform", "t1", "t2", "--output", "tuned") == 0
    assert "Cosine between task vectors" in capsys.readouterr().out
    (shared, one, two) = (load_file(f"{name}/shared.safetensors") for name in ("tuned", "t1/model", "t2/model"))
    name = next(key for key in one if not torch.equal(one[key], two[key]))
    torch.testing.assert_close(shared[name], (one[name] + two[name]) / 2)
    assert Path("tuned/merge.json").exists()


def test_files_give_a_file_or_a_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        Path(f"f{i}").mkdir()
        Path(f"f{i}/config.json").write_text("{}")
        save_file({"w": torch.full((4,), float(i)), "v": torch.ones(2)}, f"f{i}/model.safetensors")
    files = [f"f{i}/model.safetensors" for i in range(3)]
    assert merge("weighted", *files[1:], "--weights", "1,3", "--output", "new/m.safetensors") == 0
    assert capsys.readouterr().out == "In new/m.safetensors: 2 models merged by weighted\n"
    assert load_file("new/m.safetensors")["w"].tolist() == [1.75] * 4
    assert (
        merge("task_arithmetic", "f1", "f2", "--base", "f0", "--output", "g", "--set", "scale=2", "--shard-size", "1")
        == 0
    )
    assert "Sign conflicts: 0.0 %" in capsys.readouterr().out
    assert sorted(path.name for path in Path("g").iterdir()) == ["config.json", "merge.json", "model.safetensors"]
    assert load_file("g/model.safetensors")["w"].tolist() == [6.0] * 4
    for i in range(2):
        save_file({"w": torch.full((4,), 1.0 + 2 * i), "v": torch.ones(2)}, f"fisher{i}")
    statistics = ["--statistics", "fisher0", "--statistics", "fisher1"]
    assert merge("fisher", *files[:2], *statistics, "--output", "fisher.safetensors") == 0
    assert load_file("fisher.safetensors")["w"].tolist() == [0.75] * 4


def test_bad_input_ends_with_2_and_leaves_nothing(
    library: Library, text_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    text_folder("run", tuned=False, seed=1)
    text_folder("tuned", tuned=True, seed=1, method="heads_only")
    save_file({"w": torch.ones(2)}, "m.safetensors")
    before = sorted(Path().rglob("*"))
    two = ("lib:one", "lib:two")
    for arguments, message in (
        (("unifrom", *two), "unknown merge 'unifrom'; did you mean 'uniform'?"),
        (("uniform", "lib:one"), "uniform: merges two or more models, got 1"),
        (("slerp", *two, "lib:one"), "slerp: merges exactly 2 models, got 3"),
        (("weighted", *two), "weighted: needs weights; give --weights"),
        (("uniform", *two, "--weights", "1,2"), "uniform: has no use for weights"),
        (("weighted", *two, "--weights", "1,x"), "--weights 1,x: not numbers with commas between"),
        (("weighted", *two, "--weights", "1"), "weighted: 1 weights for 2 models"),
        (("lorahub", *two), "lorahub: needs a score of weights on held-out data; call it from Python"),
        (("fisher", *two), "fisher: needs statistics of the models; give --statistics"),
        (("fisher", *two, "--statistics", "m.safetensors"), "fisher: 1 statistics for 2 models"),
        (("ties", *two, "--set", "keep=2"), "ties: 'keep': Input should be less than or equal to 1"),
        (("ties", *two, "--set", "kept=1"), "ties: unknown key 'kept'; did you mean 'keep'?"),
        (("ties", "m.safetensors", "m.safetensors"), "ties: needs the weights that the models were trained from"),
        (("uniform", "lib:one", "lib:three"), "unknown expert 'three'"),
        (("uniform", "lib", "lib:two"), "lib: a library: which expert?"),
        (("uniform", "none", "lib:two"), "none: no such file or folder"),
        (("uniform", "run", "lib:two"), "run: holds 2 experts; choose one: run:x"),
        (("uniform", "run:z", "lib:two"), "unknown expert 'z'"),
        (("uniform", "run:x", "lib:two"), "expert two: was trained on a backbone with fingerprint f"),
        (("uniform", "tuned:x", "tuned"), "tuned:x: a tuned model is merged whole"),
        (("uniform", "tuned", "lib:two"), "cannot merge an expert with a tuned model"),
        (("uniform", *two, "--base", "m.safetensors"), "--base: has no meaning for these models"),
        (("uniform", "m.safetensors", "m.safetensors", "--rank", "2"), "--rank: has no meaning"),
        (("uniform", "m.safetensors", "m.safetensors", "--no-heads"), "--no-heads: has no meaning"),
        (("uniform", *two, "--shard-size", "1"), "--shard-size: has no meaning"),
        (("uniform", *two, "--output", "lib"), "lib: the output is there already"),
    ):
        given = arguments if "--output" in arguments else (*arguments, "--output", "out")
        assert merge(*given) == 2, arguments
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert sorted(Path().rglob("*")) == before
