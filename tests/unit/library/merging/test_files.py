"""Tensors in files: read in parts, written byte for byte as the safetensors library writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from multigraft.errors import UserError
from multigraft.library.merging import files as merging_files
from multigraft.library.merging.base import Held, parse_merge
from multigraft.library.merging.files import INDEX, SINGLE, TYPES, open_model, write_folder, write_model
from multigraft.library.merging.models import merge_files, mix


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    kinds = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    write_model(path, kinds, lambda name: tensors[name].flatten().split(5), metadata)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(list(TYPES.values())), st.lists(st.integers(0, 4), max_size=3)),
        max_size=6,
    ),
    st.sampled_from([None, {"format": "pt"}]),
)
def test_files_are_those_of_the_library(
    tmp_path_factory: pytest.TempPathFactory,
    kinds: dict[str, tuple[torch.dtype, list[int]]],
    metadata: dict[str, str] | None,
) -> None:
    folder = tmp_path_factory.mktemp("files")
    tensors = {
        name: (torch.arange(64) % 2)[: torch.Size(shape).numel()].view(shape).to(dtype)
        for name, (dtype, shape) in kinds.items()
    }
    save_file(tensors, folder / "theirs", metadata)
    write(folder / "ours", tensors, metadata)
    assert (folder / "ours").read_bytes() == (folder / "theirs").read_bytes()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    for name, stored in open_model(folder / "ours").items():
        assert torch.equal(stored.block(0, tensors[name].numel()), tensors[name].flatten())


def test_a_part_is_read(tmp_path: Path) -> None:
    save_file({"a": torch.arange(7.0), "b": torch.arange(20).view(4, 5)}, tmp_path / "m")
    stored = open_model(tmp_path / "m")["b"]
    assert stored.block(6, 9).tolist() == [6, 7, 8]
    assert (stored.shape, stored.dtype) == ((4, 5), torch.int64)
    (tmp_path / "m").write_bytes((tmp_path / "m").read_bytes()[:-40])
    with pytest.raises(UserError, match="ends too early"):
        stored.block(10, 20)
    (tmp_path / "m").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        stored.block(0, 1)


def test_nothing_is_left_of_a_file_that_fails(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("old")

    def broken(name: str) -> list[Tensor]:
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        write_model(tmp_path / "m", {"a": (torch.float32, (2,))}, broken)
    assert (tmp_path / "m").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_shards_and_their_index(tmp_path: Path) -> None:
    tensors = {name: torch.full((4,), float(i)) for i, name in enumerate("abcd")} | {"large": torch.ones(20)}
    kinds = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    assert write_folder(tmp_path, kinds, lambda name: [tensors[name]]) == [SINGLE]
    (tmp_path / SINGLE).unlink()
    names = write_folder(tmp_path, kinds, lambda name: [tensors[name]], shard=32)
    assert names == [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    assert [sorted(load_file(tmp_path / name)) for name in names] == [["a", "b"], ["c", "d"], ["large"]]
    assert json.loads((tmp_path / INDEX).read_text())["metadata"] == {"total_size": 144}
    found = open_model(tmp_path)
    assert {name: stored.block(0, 4).tolist() for name, stored in found.items()} == {
        name: tensor[:4].tolist() for name, tensor in tensors.items()
    }


def test_transformers_reads_the_folder(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=11)
    models = [BertModel(config) for _ in range(2)]
    for i, model in enumerate(models):
        model.save_pretrained(tmp_path / f"m{i}")
    merge_files(parse_merge("uniform"), [tmp_path / "m0", tmp_path / "m1"], tmp_path / "out", shard=1500)
    assert (tmp_path / "out" / INDEX).exists()
    merged = BertModel.from_pretrained(tmp_path / "out").state_dict()
    first, second = (model.state_dict() for model in models)
    assert merged.keys() == first.keys()
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, (first[name] + second[name]) / 2)


def damaged(folder: Path, case: str) -> Path:
    """A model with one fault."""
    path = folder / "m.safetensors"
    save_file({"a": torch.ones(3)}, path)
    if case == "missing":
        return folder / "none.safetensors"
    if case == "short":
        path.write_bytes(path.read_bytes()[:-1])
    if case == "pickle":
        torch.save({}, path)
    if case == "empty folder":
        (folder / "e").mkdir()
        return folder / "e"
    if case in ("lost", "outside", "no map"):
        place = {
            "lost": {"a": "m.safetensors", "b": "m.safetensors"},
            "outside": {"a": "../m.safetensors"},
            "no map": [],
        }
        (folder / INDEX).write_text(json.dumps({"weight_map": place[case]}))
        return folder
    return path


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("missing", "none.safetensors: cannot be read"),
        ("short", "not a safetensors file, or damaged"),
        ("pickle", "not a safetensors file, or damaged"),
        ("empty folder", "holds neither model.safetensors nor"),
        ("lost", "tensor 'b' is in none of the files"),
        ("outside", "in another folder"),
        ("no map", "has no 'weight_map'"),
    ],
)
def test_what_is_damaged_is_said(tmp_path: Path, case: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        open_model(damaged(tmp_path, case))
    assert "\n" not in str(error.value)


def test_a_type_that_is_not_known_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "m")
    monkeypatch.delitem(merging_files.TYPES, "F32")
    with pytest.raises(UserError, match="tensor 'a' is of type F32"):
        open_model(tmp_path / "m")


def test_models_that_do_not_fit_are_named() -> None:
    def held(**tensors: Tensor) -> dict[str, Held]:
        return {name: Held(tensor) for name, tensor in tensors.items()}

    one, uniform = held(a=torch.ones(2, 3), n=torch.arange(2)), parse_merge("uniform")
    for other, message in (
        (held(a=torch.ones(2, 3)), "second: tensor 'n' is missing, in first 2 int64"),
        (held(a=torch.ones(3, 2), n=torch.arange(2)), "tensor 'a' is 3 x 2 float32, in first 2 x 3 float32"),
        (held(a=torch.ones(2, 3), n=torch.ones(2)), "tensor 'n' is 2 float32"),
    ):
        with pytest.raises(UserError, match=message):
            mix(uniform, [one, other], ["first", "second"])
    with pytest.raises(UserError, match="the base: tensor 'n' is missing"):
        mix(uniform, [one, one], ["first", "second"], base=held(a=torch.ones(2, 3)))
    differs = mix(uniform, [one, held(a=torch.ones(2, 3), n=torch.tensor([0, 2]))], ["first", "second"])
    with pytest.raises(UserError, match=r"second: tensor 'n', of torch\.int64, differs from that of first"):
        list(differs.pieces("n"))
    with pytest.raises(UserError, match="statistics 1: the models have no tensor 'b'"):
        mix(parse_merge("regmean"), [one, one], ["first", "second"], statistics=[held(b=torch.ones(1))] * 2)


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "m")
    for output in (tmp_path, tmp_path / "m"):
        with pytest.raises(UserError, match="is there already"):
            merge_files(parse_merge("uniform"), [tmp_path / "m", tmp_path / "m"], output)
