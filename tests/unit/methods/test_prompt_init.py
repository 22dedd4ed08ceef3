"""Where a soft prompt starts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from multigraft.backbones.tiny import tiny_backbone, tiny_text_backbone
from multigraft.errors import UserError
from multigraft.methods.prompt_init import (
    combined,
    frequent_tokens,
    from_labels,
    from_text,
    resized,
    sampled,
    uniform,
)

BACKBONE = tiny_backbone("bert")
VOCABULARY = BACKBONE.tokenizer.get_vocab()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def words(prompt: torch.Tensor) -> list[str]:
    """The tokens whose embeddings the vectors are."""
    table = BACKBONE.embed(torch.arange(67))
    found = [int((table - vector).abs().sum(1).argmin()) for vector in prompt]
    assert torch.equal(table[found], prompt)
    return BACKBONE.tokenizer.convert_ids_to_tokens(found)  # type: ignore[no-any-return]


def test_the_vocabulary_s_first_words_without_marks() -> None:
    ids = frequent_tokens(BACKBONE, count=4)
    assert BACKBONE.tokenizer.convert_ids_to_tokens(ids) == ["the", "a", "not", "is"]
    assert len(frequent_tokens(BACKBONE)) == 67 - 5


def test_the_words_of_texts_by_frequency() -> None:
    texts = ["dog cat dog", "zzz cat dog big"]  # zzz is the unknown token
    ids = frequent_tokens(BACKBONE, texts)
    assert BACKBONE.tokenizer.convert_ids_to_tokens(ids) == ["dog", "cat", "big"]
    assert frequent_tokens(BACKBONE, texts, count=1) == ids[:1]
    with pytest.raises(UserError, match="no tokens to start a prompt from"):
        frequent_tokens(BACKBONE, ["zzz"])


def test_drawn_tokens_differ_while_there_are_enough() -> None:
    drawn = words(sampled(BACKBONE, 62, seeded()))
    assert len(set(drawn)) == 62
    assert words(sampled(BACKBONE, 62, seeded(1))) != drawn
    tokens = [VOCABULARY["cat"], VOCABULARY["dog"]]
    assert set(words(sampled(BACKBONE, 20, seeded(), tokens))) == {"cat", "dog"}


def test_a_text_is_cut_or_repeated() -> None:
    assert words(from_text(BACKBONE, "the cat is big", 3)) == ["the", "cat", "is"]
    assert words(from_text(BACKBONE, "the cat", 5)) == ["the", "cat", "the", "cat", "the"]
    with pytest.raises(UserError, match="a text without tokens"):
        from_text(BACKBONE, "", 5)


def test_labels_and_what_stands_behind_them() -> None:
    prompt = from_labels(BACKBONE, ["good", "", "bad cat"], 5, seeded(), [VOCABULARY["dog"]])
    assert words(prompt[[0, 2, 3, 4]]) == ["good", "dog", "dog", "dog"]
    assert torch.allclose(prompt[1], BACKBONE.embed(torch.tensor([VOCABULARY["bad"], VOCABULARY["cat"]])).mean(0))
    assert words(from_labels(BACKBONE, ["good", "bad"], 1, seeded())) == ["good"]


@given(st.integers(1, 6), st.integers(1, 6), st.lists(st.floats(-2, 2), min_size=1, max_size=4))
def test_a_weighted_sum(length: int, other: int, weights: list[float]) -> None:
    lengths = [length, *[other] * (len(weights) - 1)]
    prompts = [torch.randn(n, 4, generator=seeded(i)) for i, n in enumerate(lengths)]
    found = combined(prompts, weights)
    assert found.shape == (length, 4)
    wanted = sum(w * p[torch.arange(length) % len(p)] for w, p in zip(weights, prompts, strict=True))
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(combined(prompts), combined(prompts, [1 / len(prompts)] * len(prompts)))
    assert torch.equal(combined(prompts[:1], length=7), resized(prompts[0], 7))


def test_prompts_that_do_not_add_up() -> None:
    with pytest.raises(UserError, match="0 prompts and none weights"):
        combined([])
    with pytest.raises(UserError, match="2 prompts and 1 weights"):
        combined([torch.zeros(2, 3)] * 2, [1.0])
    with pytest.raises(UserError, match=r"widths \[3, 4\]"):
        combined([torch.zeros(2, 3), torch.zeros(2, 4)])


def test_uniform_values() -> None:
    prompt = uniform(50, 40, seeded())
    assert prompt.shape == (50, 40)
    assert prompt.abs().max() <= 0.5
    assert prompt.std().item() == pytest.approx(12**-0.5, abs=0.02)


def test_words_are_scaled_as_the_family_scales_them() -> None:
    gemma = tiny_text_backbone("gemma")
    ids = torch.tensor([9])
    assert torch.allclose(gemma.embed(ids), gemma.model.model.embed_tokens.weight[ids] * 24**0.5, rtol=1e-2)  # type: ignore[union-attr,operator]
