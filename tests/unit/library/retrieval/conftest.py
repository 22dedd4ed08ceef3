"""What the tests of retrieval share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from multigraft.library.card import KeysCard
from multigraft.library.retrieval.text_formats import KeyText

MakeMade = Callable[..., KeysCard]


@pytest.fixture(scope="session")
def make_made() -> MakeMade:
    """A maker of records of how keys were made, with some values changed."""

    def make(**changes: Any) -> KeysCard:
        values = {"encoder": "e", "encoder_fingerprint": "f", "text": KeyText(), "tokens": 8}
        return KeysCard(**{**values, **changes})

    return make
