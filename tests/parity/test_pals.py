"""Outputs of the PALs paper's released modules: ours agree to 1e-5, and the script says so when they do not."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared" / "reference" / "pals"
COMMITTED = sorted((HERE / "data").glob("*.safetensors"))
ALL = ("houlsby", "houlsby_pal", "lhuc", "low_rank", "pal", "pal_lhuc", "top_bert_layer", "top_projected_attention")

Edit = Callable[[dict[str, Tensor], dict[str, str]], None]


@pytest.fixture(scope="module")
def pals() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("pals", HERE / "pals.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pals"] = module
    spec.loader.exec_module(module)
    return module


def edited(source: Path, target: Path, edit: Edit) -> Path:
    """A copy of a reference file with its tensors and metadata changed by `edit`."""
    with safe_open(source, "pt") as file:
        metadata = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    edit(tensors, metadata)
    save_file(tensors, target, metadata)
    return target


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_references(pals: ModuleType, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pals.main([str(path)]) == 0
    printed = capsys.readouterr().out
    for task in ("task0", "task1 mixed", "task2"):
        for output in ("layer0", "last_hidden_state", "pooled"):
            assert f"{task}.{output}" in printed
    assert "trunk_only.last_hidden_state" in printed


def test_four_references_are_committed() -> None:
    assert [path.stem for path in COMMITTED] == ["houlsby", "low_rank", "pal", "top_projected_attention"]


@pytest.mark.parametrize("variant", ALL)
def test_shared_references(pals: ModuleType, variant: str) -> None:
    if not SHARED.is_dir():
        pytest.skip("the folder of reference values is not there")
    assert pals.main([str(SHARED / f"{variant}.safetensors")]) == 0


def _shift(name: str, by: float) -> Edit:
    def edit(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        tensors[name] = tensors[name] + by

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        _shift("module.encoder.layer.1.multi_layers.2.attn.query.weight", 0.01),
        _shift("trunk.encoder.layer.2.output.LayerNorm.bias", 0.01),
        _shift("expected.task1.pooled", 2e-5),
        _shift("expected.trunk_only.last_hidden_state", 2e-5),
        _shift("expected.task0.layer0", float("nan")),
    ],
)
def test_a_difference_is_exit_code_1(pals: ModuleType, edit: Edit, tmp_path: Path) -> None:
    assert pals.main([str(edited(HERE / "data" / "pal.safetensors", tmp_path / "x.safetensors", edit))]) == 1


def test_masked_positions_are_not_compared(pals: ModuleType, tmp_path: Path) -> None:
    def edit(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        masked = tensors["input.attention_mask"] == 0
        assert masked.any()
        tensors["expected.task0.last_hidden_state"][masked] = 7.0

    assert pals.main([str(edited(HERE / "data" / "pal.safetensors", tmp_path / "x.safetensors", edit))]) == 0


def _set(key: str, value: str) -> Edit:
    return lambda tensors, metadata: metadata.update({key: value})


def _drop(name: str) -> Edit:
    def edit(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        del tensors[name]

    return edit


def _add(name: str) -> Edit:
    return lambda tensors, metadata: tensors.update({name: torch.zeros(2)})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_set("variant", "pals"), "unknown variant 'pals'; did you mean 'pal'?"),
        (_set("config", "{}"), "bad metadata ('hidden_size')"),
        (_set("config", "[]"), "bad metadata"),
        (_drop("module.encoder.layer.1.multi_layers.2.attn.query.weight"), "is missing"),
        (_drop("input.ids"), "'input.ids' is missing"),
        (_drop("trunk.encoder.layer.0.output.dense.bias"), "output.dense.bias"),
        (_add("module.encoder.layer.1.multi_lhuc.0.lhuc"), "does not belong to variant pal"),
        (_add("expected.task7.pooled"), "unknown output 'task7.pooled'"),
        (_add("expected.task0.pooled"), "'task0.pooled' is (2,), not (4, 24)"),
        (_add("module.encoder.layer.0.multi_layers.1.aug_dense.bias"), "is (2,), expected (12,)"),
    ],
)
def test_an_unusable_file_is_one_line_and_exit_code_2(
    pals: ModuleType, edit: Edit, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(HERE / "data" / "pal.safetensors", tmp_path / "x.safetensors", edit)
    assert pals.main([str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert str(path) in error


def test_no_reference_at_all(pals: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    garbage, bare = tmp_path / "garbage.safetensors", tmp_path / "bare.safetensors"
    garbage.write_bytes(b"not tensors")
    save_file({"x": torch.zeros(1)}, bare)
    for path in (garbage, bare, tmp_path / "none.safetensors", tmp_path):
        assert pals.main([str(path)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert str(path) in error
    assert pals.main([]) == 2
