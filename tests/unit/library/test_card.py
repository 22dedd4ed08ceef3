from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from multigraft.backbones.tiny import tiny_tokenizer
from multigraft.batching.encode import Encoded, encode
from multigraft.library.card import data_fingerprint, tokenizer_fingerprint
from multigraft.tasks.suite import load_suite


@pytest.fixture(scope="module")
def encoded(tiny_suite: str) -> Encoded:
    task = load_suite(tiny_suite).tasks["pick"]
    return encode(task, task.examples("train"), tiny_tokenizer(), 40)


def test_the_same_rows_have_the_same_fingerprint(encoded: Encoded) -> None:
    assert data_fingerprint(encoded) == data_fingerprint(replace(encoded, ids=encoded.ids.copy()))
    assert len(data_fingerprint(encoded)) == 64


@pytest.mark.parametrize("name", ["ids", "starts", "first", "target_class", "target_number"])
def test_any_other_value_has_another(encoded: Encoded, name: str) -> None:
    values = np.array(getattr(encoded, name))
    values[3] += 1
    assert data_fingerprint(replace(encoded, **{name: values})) != data_fingerprint(encoded)


def test_a_tokenizer_is_known_by_what_it_does() -> None:
    one, other = tiny_tokenizer(), tiny_tokenizer()
    assert tokenizer_fingerprint(one) == tokenizer_fingerprint(other)
    other.add_tokens(["new"])
    assert tokenizer_fingerprint(one) != tokenizer_fingerprint(other)
