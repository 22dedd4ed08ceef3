"""Signs and angles of task vectors, counted by hand."""

from __future__ import annotations

import pytest
import torch

from multigraft.library.merging.base import Held, Tensors
from multigraft.library.merging.interference import interference


def test_signs_and_angles_are_counted() -> None:
    a = {"w": torch.tensor([1.0, 1.0, 0.0, 0.0]), "v": torch.tensor([3.0])}
    b = {"w": torch.tensor([-1.0, 1.0, 2.0, 0.0]), "v": torch.tensor([-3.0])}
    tensors = [Tensors(name, (Held(a[name]), Held(b[name])), (1.0, 1.0)) for name in a]
    found = interference(["a", "b"], tensors)
    assert found.tensors["w"].entries == 3
    assert found.tensors["w"].conflicts == pytest.approx(1 / 3)
    assert found.tensors["w"].cosine == ((pytest.approx(1), 0), (0, pytest.approx(1)))
    assert found.tensors["v"].cosine[0][1] == pytest.approx(-1)
    assert (found.overall.entries, found.overall.conflicts) == (4, 0.5)
    assert found.overall.cosine[0][1] == pytest.approx(-9 / (11 * 15) ** 0.5)
    assert found.worst(1) == ["v"]


def test_a_base_is_taken_off_and_nothing_has_no_angle() -> None:
    base = Held(torch.ones(3))
    found = interference(["a", "b"], [Tensors("w", (Held(torch.ones(3)), Held(torch.zeros(3))), (1.0, 1.0), base)])
    assert found.overall.cosine == ((0, 0), (0, pytest.approx(1)))
    assert found.overall.conflicts == 0
    still = interference(["a"], [Tensors("w", (base,), (1.0,), base)])
    assert (still.overall.entries, still.overall.conflicts) == (0, 0)
