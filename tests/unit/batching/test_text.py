"""Rendered examples as token ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.backbones.tiny import tiny_backbone, tiny_text_backbone
from multigraft.batching.text import TextFormat, continue_texts, encode_inputs, encode_text
from multigraft.errors import UserError

WORDS = st.lists(st.sampled_from(["a", "cat", "dog", "big", "red", "1", "?"]), max_size=8).map(" ".join)
T5, LLAMA = tiny_text_backbone("t5"), tiny_text_backbone("llama")


def form_of(backbone: object, max_input: int = 30, max_target: int = 8) -> TextFormat:
    """How a backbone reads and writes."""
    return backbone.text_format(max_input, max_target)  # type: ignore[attr-defined,no-any-return]


def test_an_encoder_writes_no_text() -> None:
    with pytest.raises(UserError, match="writes no text"):
        tiny_backbone().text_format(8, 8)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
def test_what_is_encoded_can_be_read_again(pairs: list[tuple[str, str]]) -> None:
    for backbone in (T5, LLAMA):
        form = form_of(backbone)
        data = encode_text(pairs, backbone.tokenizer, form)
        assert len(data) == len(pairs)
        for i, (text, target) in enumerate(pairs):
            ids = data.target(i).tolist()
            assert ids[-1] == form.end_id
            assert len(ids) <= form.max_target
            cut = bool(data.truncated[i])
            whole = backbone.tokenizer.decode(ids[:-1])
            assert whole == target if not cut else target.startswith(whole)
            assert backbone.tokenizer.decode(data.input(i), skip_special_tokens=True).split() == text.split()
        assert data.lengths.sum() == len(data.inputs) + len(data.targets)


def test_what_is_too_long_is_cut_where_it_hurts_least() -> None:
    for backbone, kept in ((T5, "a"), (LLAMA, "?")):  # an encoder keeps the beginning, a decoder the end
        form = form_of(backbone, max_input=4, max_target=3)
        data = encode_text([("a b c d e f ?", "x y z"), ("a ?", "x y")], backbone.tokenizer, form)
        assert data.truncated.tolist() == [True, False]
        assert len(data.input(0)) == 4
        words = backbone.tokenizer.decode(data.input(0), skip_special_tokens=True).split()
        assert kept in words
        assert len(words) < 7
        assert [len(data.target(i)) for i in range(2)] == [3, 3]


def test_an_empty_input_is_the_start_token() -> None:
    form = form_of(LLAMA)
    ids, cut = encode_inputs([""], LLAMA.tokenizer, form)
    assert ids == [[form.start_id]]
    assert not cut[0]


def test_a_target_is_what_is_left_of_both_together() -> None:
    # The tokenizer splits at spaces, so the separator belongs to no token and the target is as it is alone.
    form = form_of(LLAMA)
    (ids,) = continue_texts([("a cat", "big dog")], LLAMA.tokenizer, form)
    assert LLAMA.tokenizer.decode(ids) == "big dog"
