from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from multigraft import files
from multigraft.errors import UserError
from multigraft.methods.joint import JointModel
from multigraft.training.checkpoint import load_checkpoint, save_checkpoint, trained_tensors
from multigraft.training.optimizers import Optimizers
from multigraft.training.settings import TrainingSettings

Make = Callable[..., Any]


def stepped(model: JointModel, optimizer: str = "adamw", steps: int = 2) -> Optimizers:
    """An optimizer that has moved the model: the first expert twice, the second once, the third not at all."""
    optimizers = Optimizers(model, TrainingSettings(steps=9, optimizer=optimizer))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(steps)
    for step in range(steps):
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizers.step([0] if step else [0, 1], 1.0)
    return optimizers


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@pytest.mark.parametrize("tuned", [True, False], ids=["tuned", "frozen"])
@pytest.mark.parametrize("method", ["low_rank", "heads_only"])
def test_all_comes_back_bit_for_bit(
    make_model: Make, tmp_path: Path, assert_same: Make, optimizer: str, tuned: bool, method: str
) -> None:
    model = make_model(method=method, tuned=tuned)
    optimizers = stepped(model, optimizer)
    save_checkpoint(tmp_path / "c", model, optimizers, {"step": 2})
    other = make_model(method=method, tuned=tuned, seed=5)
    fresh = Optimizers(other, TrainingSettings(steps=9, optimizer=optimizer))  # type: ignore[arg-type]
    assert load_checkpoint(tmp_path / "c", other, fresh) == {"step": 2}
    assert_same(trained_tensors(other), trained_tensors(model))
    assert_same(fresh.state(), optimizers.state())
    assert fresh.rows["heads"].count.tolist() == [2, 1, 0]


def test_there_may_be_none(make_model: Make, tmp_path: Path) -> None:
    model = make_model()
    assert load_checkpoint(tmp_path / "c", model, Optimizers(model, TrainingSettings(steps=1))) is None


def cut(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:-7])

    return damage


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def scribble(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(b"\xff\xfe not what was here")

    return damage


def without(name: str, tensor: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / name)
        del tensors[tensor]
        save_file(tensors, folder / name)

    return damage


def one_row(folder: Path) -> None:
    """A shape that would spread over the wanted one without a complaint."""
    tensors = load_file(folder / "weights.safetensors")
    save_file(tensors | {"bank": tensors["bank"][:1].clone()}, folder / "weights.safetensors")


DAMAGE = {
    "weights cut": cut("weights.safetensors"),
    "optimizer cut": cut("optimizer.safetensors"),
    "progress cut": cut("progress.json"),
    "weights gone": remove("weights.safetensors"),
    "optimizer gone": remove("optimizer.safetensors"),
    "progress gone": remove("progress.json"),
    "weights scribbled": scribble("weights.safetensors"),
    "optimizer scribbled": scribble("optimizer.safetensors"),
    "progress scribbled": scribble("progress.json"),
    "a tensor gone": without("weights.safetensors", "encoder.encoder.layer.0.output.dense.weight"),
    "a state gone": without("optimizer.safetensors", "bank/mean"),
    "a row for all": one_row,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_one_is_one_line(make_model: Make, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    model = make_model()
    save_checkpoint(tmp_path / "c", model, stepped(model), {"step": 2})
    damage(tmp_path / "c")
    other = make_model()
    with pytest.raises(UserError, match="not a checkpoint of this run: ") as error:
        load_checkpoint(tmp_path / "c", other, Optimizers(other, TrainingSettings(steps=9)))
    assert str(tmp_path / "c") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("other", [{"method": {"name": "low_rank", "width": 9}}, {"method": "lhuc"}, {"tuned": False}])
def test_another_model_s_is_one_line(make_model: Make, tmp_path: Path, other: dict[str, object]) -> None:
    model = make_model()
    save_checkpoint(tmp_path / "c", model, stepped(model), {"step": 2})
    foreign = make_model(**other)
    with pytest.raises(UserError, match="not a checkpoint of this run: "):
        load_checkpoint(tmp_path / "c", foreign, Optimizers(foreign, TrainingSettings(steps=9)))


def test_a_crash_at_any_moment_leaves_one_complete(
    make_model: Make, assert_same: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk as it was before every sync and rename of a second checkpoint holds the first one or the second."""
    model = make_model()
    place, moments = tmp_path / "run", []
    save_checkpoint(place / "c", model, stepped(model, steps=1), {"step": 1})
    states = {1: trained_tensors(model)}
    optimizers = stepped(model, steps=3)
    states[3] = trained_tensors(model)

    def snapshot() -> None:
        moments.append(tmp_path / f"moment-{len(moments)}")
        shutil.copytree(place, moments[-1])

    sync, replace = files.sync, Path.replace
    monkeypatch.setattr(files, "sync", lambda path: (snapshot(), sync(path)))
    monkeypatch.setattr(Path, "replace", lambda path, target: (snapshot(), replace(path, target))[1])
    save_checkpoint(place / "c", model, optimizers, {"step": 3})
    snapshot()
    monkeypatch.undo()
    found = []
    for moment in moments:
        other = make_model()
        progress = load_checkpoint(moment / "c", other, Optimizers(other, TrainingSettings(steps=9)))
        assert progress is not None
        assert_same(trained_tensors(other), states[progress["step"]])
        assert [path.name for path in moment.iterdir() if path.name.endswith(".old")] == []
        found.append(progress["step"])
    assert found == sorted(found)
    assert set(found) == {1, 3}


def test_a_failure_while_writing_keeps_the_one_before(
    make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    save_checkpoint(tmp_path / "c", model, stepped(model), {"step": 2})
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path / "c", model, stepped(model), {"step": float("nan")})
    assert json.loads((tmp_path / "c" / "progress.json").read_text()) == {"step": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
