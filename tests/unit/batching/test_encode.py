"""Rows to token ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from multigraft.backbones.tiny import tiny_tokenizer
from multigraft.batching.encode import NO_CLASS, Encoded, encode, segments, tokenize
from multigraft.errors import UserError
from multigraft.tasks.outputs import Example
from multigraft.tasks.task import Task

TOKENIZER = tiny_tokenizer()
TOKENIZER.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
CLS, SEP = TOKENIZER.cls_token_id, TOKENIZER.sep_token_id


def task(output: dict[str, Any], metric: str = "accuracy") -> Task:
    record = {"name": "t", "cluster": "c", "inputs": ("x", "y"), "metric": metric, "splits": {"train": "t.jsonl"}}
    return Task.model_validate(record | {"output": {"field": "label", **output}})


TWO = task({"kind": "choice", "choices": ("no", "yes")})
ROW = task({"kind": "choice", "choices_field": "options"})
NUMBER = task({"kind": "number", "range": (1.0, 5.0)}, "pearson")


def ids(text: str) -> list[int]:
    return TOKENIZER.convert_tokens_to_ids(text.split())  # type: ignore[no-any-return]


def sequence(encoded: Encoded, index: int) -> list[int]:
    return encoded.ids[encoded.starts[index] : encoded.starts[index + 1]].tolist()  # type: ignore[no-any-return]


def test_segments() -> None:
    assert segments(["a"], None, "|") == ("a", None)
    assert segments(["a", "b"], None, "|") == ("a", "b")
    assert segments(["a", "b", "c"], None, "|") == ("a", "b | c")
    assert segments(["a", "b"], "o", "|") == ("a | b", "o")


def test_fixed_options() -> None:
    encoded = encode(TWO, [Example(("a b", "c"), ("no", "yes"), 1), Example(("d", "e f g"), ("no", "yes"), 0)],
                     TOKENIZER, 20)  # fmt: skip
    assert sequence(encoded, 0) == [CLS, *ids("a b"), SEP, *ids("c"), SEP]
    assert sequence(encoded, 1) == [CLS, *ids("d"), SEP, *ids("e f g"), SEP]
    assert encoded.types is not None
    assert encoded.types.tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1]
    assert encoded.lengths.tolist() == encoded.tokens.tolist() == [6, 7]
    assert encoded.target_class.tolist() == [1, 0]
    assert encoded.choices.tolist() == [2, 2]
    assert not encoded.truncated.any()
    assert (len(encoded), encoded.by_row) == (2, False)


def test_options_of_the_row() -> None:
    rows = [Example(("a", "b"), ("c", "d e", "f"), 2), Example(("g", "h"), ("i", "j"), 0)]
    encoded = encode(ROW, rows, TOKENIZER, 20)
    assert encoded.by_row
    assert encoded.first.tolist() == [0, 3, 5]
    assert sequence(encoded, 1) == [CLS, *ids("a"), SEP, *ids("b"), SEP, *ids("d e"), SEP]
    assert sequence(encoded, 4) == [CLS, *ids("g"), SEP, *ids("h"), SEP, *ids("j"), SEP]
    assert encoded.lengths.tolist() == [8, 7]
    assert encoded.tokens.tolist() == [22, 14]
    assert encoded.choices.tolist() == [3, 2]
    assert encoded.target_class.tolist() == [2, 0]


def test_numbers_are_scaled() -> None:
    encoded = encode(NUMBER, [Example(("a", "b"), (), value) for value in (1.0, 2.0, 5.0)], TOKENIZER, 20)
    assert encoded.target_number.tolist() == [0.0, 0.25, 1.0]
    assert encoded.target_class.tolist() == [NO_CLASS] * 3
    assert encoded.choices.tolist() == [0] * 3


def test_the_longer_segment_is_cut() -> None:
    rows = [Example(("a b c d e f", "g h"), ("no", "yes"), 0), Example(("a", "b"), ("no", "yes"), 0)]
    encoded = encode(TWO, rows, TOKENIZER, 8)
    assert sequence(encoded, 0) == [CLS, *ids("a b c"), SEP, *ids("g h"), SEP]
    assert encoded.truncated.tolist() == [True, False]
    options = encode(ROW, [Example(("a b c d e f", "g"), ("h", "i j"), 0)], TOKENIZER, 8)
    assert options.truncated.tolist() == [True]
    assert options.lengths.tolist() == [8]


def test_one_segment_and_two_in_one_call() -> None:
    found, types, cut = tokenize(TOKENIZER, [("a", None), ("b", "c"), ("d e", None)], 20)
    assert found[0] == [CLS, *ids("a"), SEP]
    assert found[1] == [CLS, *ids("b"), SEP, *ids("c"), SEP]
    assert found[2] == [CLS, *ids("d e"), SEP]
    assert types is not None
    assert types[2] == [0, 0, 0, 0]
    assert not cut.any()


def test_a_model_without_token_types() -> None:
    encoded = encode(TWO, [Example(("a", "b"), ("no", "yes"), 0)], tiny_tokenizer(), 20)
    assert encoded.types is None
    assert sequence(encoded, 0) == [CLS, *ids("a"), SEP, *ids("b"), SEP]


@pytest.mark.parametrize("asked", [TWO, ROW, NUMBER])
def test_no_rows(asked: Task) -> None:
    encoded = encode(asked, [], TOKENIZER, 20)
    assert len(encoded) == 0
    assert encoded.lengths.tolist() == encoded.tokens.tolist() == encoded.truncated.tolist() == []
    assert encoded.starts.dtype == np.int64


def test_what_an_encoder_cannot_do() -> None:
    text = task({"kind": "text"}, "rougeL")
    with pytest.raises(UserError, match="t: the answer is a text"):
        encode(text, [], TOKENIZER, 20)

    class Slow:
        is_fast, name_or_path = False, "some/model"

    with pytest.raises(UserError, match="some/model: the backbone has no fast tokenizer"):
        tokenize(Slow(), [("a", None)], 20)
