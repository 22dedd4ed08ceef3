from __future__ import annotations

import pytest
import torch

from multigraft.training import precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("name", "fast", "half"), [("fp32", True, False), ("bf16", False, True),
                                                    ("auto", False, False), ("auto", True, True)])  # fmt: skip
def test_products_are_in_the_format_asked_for(
    monkeypatch: pytest.MonkeyPatch, name: str, fast: bool, half: bool
) -> None:
    monkeypatch.setattr(precision, "has_fast_bf16", lambda device: fast)
    with precision.computing_in(name, CPU):
        found = torch.ones(2, 2) @ torch.ones(2, 2)
    assert found.dtype == (torch.bfloat16 if half else torch.float32)
