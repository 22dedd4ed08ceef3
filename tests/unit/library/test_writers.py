"""Several processes write one library at once, and a process may be killed at any moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch

import multigraft
from multigraft.library.card import Card
from multigraft.library.store import Library
from multigraft.library.verify import SETTLED, clean, verify

MakeCard = Callable[..., Card]
SOURCE = Path(multigraft.__file__).parent
TRACED = {str(SOURCE / name) for name in ("files.py", "library/store.py", "library/catalogue.py", "library/objects.py")}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are made by fork")


def _add_many(folder: Path, card: Card, process: int) -> None:
    library = Library.create(folder, exist_ok=True)
    for i in range(25):
        tensors = {"x": torch.tensor([float(process * i % 3), 1.0])}  # of the same files as others at this moment
        library.add(f"{process}.{i}", tensors, card)
        library.add(f"{process}.gone", {"x": torch.tensor([float(i % 3), 0.0])}, card)
        library.remove(f"{process}.gone")


def test_eight_processes_add_25_experts_each(memory_folder: Path, make_card: MakeCard) -> None:
    folder, fork = memory_folder / "library", multiprocessing.get_context("fork")
    processes = [fork.Process(target=_add_many, args=(folder, make_card(), number)) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    library = Library(folder)
    assert set(library.names()) == {f"{process}.{i}" for process in range(8) for i in range(25)}
    assert verify(library) == ()
    assert library.get("7.24").tensors()["x"].tolist() == [0.0, 1.0]
    assert sorted(path.name for path in folder.iterdir()) == ["catalogue.sqlite", "objects"]


def _killed_at(line: int, work: Callable[[], object]) -> bool:
    """Do some work in a process that is killed before the line-th line of the writing code that it comes to."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = line

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in TRACED:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    work()
    os._exit(0)


@pytest.mark.parametrize("verb", ["add", "replace", "remove"])
def test_a_process_killed_at_any_line_leaves_a_valid_library(
    memory_folder: Path, make_card: MakeCard, verb: str
) -> None:
    library = Library.create(memory_folder / "library")
    library.add("old", {"x": torch.zeros(2)}, make_card())
    before, after, keys = {"x": torch.full((3,), 1.0)}, {"x": torch.full((3,), 2.0)}, np.ones((1, 2), np.float32)
    works: dict[str, Callable[[], object]] = {
        "add": lambda: library.add("new", after, make_card(), keys),
        "replace": lambda: library.add("new", after, make_card(), keys, replace=True),
        "remove": lambda: library.remove("new"),
    }
    outcomes, line = set(), 1
    while True:
        if "new" in library.names():
            library.remove("new")
        if verb != "add":
            library.add("new", before, make_card())
        killed = _killed_at(line, works[verb])
        assert verify(library) == (), f"killed before line {line}"
        there = "new" in library.names()
        outcomes.add(library.get("new").tensors()["x"].tolist()[0] if there else None)
        assert library.get("old").tensors()["x"].tolist() == [0.0, 0.0]
        if not killed:
            break
        line += 5
    assert outcomes == {"add": {None, 2.0}, "replace": {1.0, 2.0}, "remove": {1.0, None}}[verb]
    assert line > 40
    for path in library.folder.rglob("*"):
        os.utime(path, (0, path.stat().st_mtime - 2 * SETTLED))
    clean(library)
    assert verify(library) == ()
    assert len(library.list()) == library.stats().files - (verb != "remove")
