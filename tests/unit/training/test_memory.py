"""A step that finds no memory is taken again in smaller parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from multigraft.errors import UserError
from multigraft.training.loop import _Run
from multigraft.training.memory import out_of_memory
from multigraft.training.optimizers import Optimizers

Make = Callable[..., Any]
SAID = "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"


def short_of(monkeypatch: pytest.MonkeyPatch, room: int, error: Exception) -> list[int]:
    """Let a backward pass over more rows than `room` fail after it has left gradients; gives the sizes tried."""
    tried: list[int] = []
    backward = _Run._backward

    def limited(self: _Run, tasks: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> Any:
        tried.append(len(rows))
        if len(rows) > room:
            backward(self, tasks[:1], rows[:1], weights[:1])
            raise error
        return backward(self, tasks, rows, weights)

    monkeypatch.setattr(_Run, "_backward", limited)
    return tried


def first_gradients(monkeypatch: pytest.MonkeyPatch) -> list[list[torch.Tensor]]:
    """What the first step of each run goes along."""
    found: list[list[torch.Tensor]] = []
    seen: list[Optimizers] = []
    step = Optimizers.step

    def noted(self: Optimizers, experts: Sequence[int], factor: float) -> None:
        if self not in seen:
            seen.append(self)
            found.append([p.grad.clone() for p in self.model.parameters() if p.grad is not None])  # type: ignore[attr-defined]
        step(self, experts, factor)

    monkeypatch.setattr(Optimizers, "step", noted)
    return found


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), RuntimeError(SAID), MemoryError()])
def test_a_step_without_memory_is_taken_in_parts(
    make_run: Make, assert_same: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    settings = {"steps": 4, "epochs": 1, "batches": "mixed", "batch_size": 8}
    whole, parts = make_run("whole", **settings), make_run("parts", **settings)
    gradients = first_gradients(monkeypatch)
    whole.go()
    tried = short_of(monkeypatch, 3, error)
    parts.go()
    assert tried[0] == 8
    assert max(tried[-4:]) <= 3  # what was learned is kept: later steps do not try the whole again
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)
    drawn = [{task: entry["drawn"] for task, entry in run.ledger.summary().items()} for run in (whole, parts)]
    assert drawn[0] == drawn[1]


def test_no_memory_for_a_row_is_one_line(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    short_of(monkeypatch, 0, RuntimeError(SAID))
    with pytest.raises(UserError, match=r"training: no memory for a row of \d+ tokens; cut texts"):
        make_run(steps=2, epochs=1, batches="mixed", batch_size=4).go()


def test_other_errors_are_not_taken_for_it(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not out_of_memory(RuntimeError("shapes do not fit"))
    short_of(monkeypatch, 1, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        make_run(steps=2, epochs=1, batches="mixed", batch_size=4).go()
