"""A run that was stopped, in whatever way and at whatever moment, ends as if it had not been."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from multigraft import files
from multigraft.settings import build, read_yaml
from multigraft.strategies import multitask
from multigraft.strategies.data import load_data
from multigraft.strategies.recipe import Recipe

Start = Callable[..., BaseProcess]
WriteRecipe = Callable[..., Path]
PATIENCE = 120  # seconds after which a process is taken to hang
LONG = {"dropout": 0.1, "training__steps": 24, "training__epochs": 6, "training__batches": "mixed"}


def contents(folder: Path) -> dict[str, bytes]:
    """The model and the result of a run, but for the figures of the clock."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "model").rglob("*.*")}
    result = json.loads((folder / "result" / "result.json").read_text())
    measured = ("train_seconds", "peak_memory_mb", "answer_ms")
    found["result"] = json.dumps({key: value for key, value in result.items() if key not in measured}).encode()
    for name in ("log.jsonl", "result/answers.safetensors"):
        found[name] = (folder / name).read_bytes()
    return found


def assert_as_if_not_stopped(folder: Path, whole: Path) -> None:
    found, wanted = contents(folder), contents(whole)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == []
    assert [path.name for path in folder.rglob(".*")] == []


def wait_for_lines(process: BaseProcess, log: Path, lines: int) -> None:
    """Return when the log has so many lines, or the process has ended."""
    while process.is_alive() and (not log.exists() or log.read_bytes().count(b"\n") < lines):
        process.join(0.005)


@pytest.fixture
def train(start: Start, write_recipe: WriteRecipe, tmp_path: Path) -> Callable[..., BaseProcess]:
    recipe = write_recipe(**LONG)

    def begin(name: str, *options: str) -> BaseProcess:
        return start("train", recipe, "--output", tmp_path / name, *options, said=tmp_path / f"{name}.txt")

    return begin


def finish(process: BaseProcess) -> int | None:
    process.join(PATIENCE)
    return process.exitcode


def test_killed_again_and_again(train: Callable[..., BaseProcess], tmp_path: Path) -> None:
    assert finish(train("whole")) == 0
    log = tmp_path / "killed" / "log.jsonl"
    draw, killed = random.Random(7), []
    for kind in ("lines", "moment", "lines", "moment", "lines"):
        process = train("killed", "--resume")
        if kind == "lines":
            wait_for_lines(process, log, draw.randrange(1, 8))
        else:
            process.join(draw.uniform(0.0, 1.0))
        process.kill()
        killed.append(finish(process))
    assert killed.count(-signal.SIGKILL) >= 3
    assert finish(train("killed", "--resume")) == 0, (tmp_path / "killed.txt").read_text()
    assert_as_if_not_stopped(tmp_path / "killed", tmp_path / "whole")


def test_interrupted_from_the_keyboard(train: Callable[..., BaseProcess], tmp_path: Path) -> None:
    longer = ("--set", "training.steps=400", "--set", "training.epochs=100")  # so that the signal comes before its end
    process = train("stopped", *longer)
    wait_for_lines(process, tmp_path / "stopped" / "log.jsonl", 2)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    assert finish(process) == 130
    said = (tmp_path / "stopped.txt").read_text().splitlines()
    assert len(said) == 1
    assert said[0].startswith("interrupted: the last checkpoint is kept in ")
    assert "--resume" in said[0]
    assert finish(train("stopped", *longer)) == 2
    assert "the folder is not empty; add --resume" in (tmp_path / "stopped.txt").read_text()
    assert finish(train("stopped", "--resume", *longer)) == 0
    assert (tmp_path / "stopped" / "result" / "result.json").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"training__choose": "best"},
        {"training__choose": "last", "training__optimizer": "adafactor", "tuned": False},
        {"separate": True, "method": "heads_only", "tasks": ["feeling", "amount"]},
    ],
    ids=["tuned", "frozen", "separate"],
)
def test_the_disk_as_it_was_at_any_moment(
    write_recipe: WriteRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """Copies of the folder before every sync and rename stand for a loss of power; from some of them we go on."""
    values = read_yaml(write_recipe(dropout=0.1, **{key: value for key, value in changes.items() if key != "tuned"}))
    values["backbone"]["tuned"] = changes.get("tuned", True)
    recipe = build(Recipe, values, "recipe")
    data = load_data(recipe)
    whole, moments = tmp_path / "whole", []

    def snapshot() -> None:
        moments.append(tmp_path / f"moment-{len(moments)}")
        shutil.copytree(whole, moments[-1])

    replace = Path.replace
    monkeypatch.setattr(files, "sync", lambda path: snapshot())
    monkeypatch.setattr(Path, "replace", lambda path, target: (snapshot(), replace(path, target))[1])
    multitask.run(recipe, data, whole, quiet=True)
    monkeypatch.undo()
    assert len(moments) > 50
    for moment in random.Random(3).sample(moments, 4):
        multitask.run(recipe, data, moment, quiet=True)
        for part in [moment] if not recipe.separate else [moment / "feeling", moment / "amount"]:
            assert_as_if_not_stopped(part, whole / part.relative_to(moment))
