"""What the tests of the library of experts share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from multigraft.library.card import Card

MakeCard = Callable[..., Card]


@pytest.fixture(scope="session")
def make_card() -> MakeCard:
    """A maker of cards, with some values changed."""

    def make(**changes: Any) -> Card:
        values: dict[str, Any] = {
            "task": "t", "method": {"name": "lora"}, "backbone": "b", "backbone_fingerprint": "f",
            "tokenizer_fingerprint": "k", "data_fingerprint": "d", "template": None, "seed": 0, "steps": 1,
            "scores": {"accuracy": 50.0}, "licence": "CC0", "parents": (), "versions": {},
        }  # fmt: skip
        return Card(**{**values, **changes})

    return make


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """A temporary folder in memory where there is one: syncing to it costs nothing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)
