"""MinHash: estimates are close to the truth, and what is alike is found."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.errors import UserError
from multigraft.settings import build
from multigraft.tasks import minhash
from multigraft.tasks.minhash import Index, Match, Nearness, Words, jaccard, shingles, signatures

ANY = Nearness()
WORDS = [f"word{number}" for number in range(5000)]
texts = st.lists(st.text("ab c.é☃", max_size=30), min_size=1, max_size=3)


def plain_shingles(row: list[str], words: int) -> set[tuple[str, ...]]:
    """The definition, word by word."""
    made = set()
    for text in row:
        found = minhash._WORD.findall(text.casefold()) or [text]
        size = min(words, len(found))
        made |= {tuple(found[i : i + size]) for i in range(len(found) - size + 1)}
    return made


@given(st.lists(texts, min_size=1, max_size=6), st.integers(1, 4))
def test_shingles_are_those_of_the_definition(rows: list[list[str]], words: int) -> None:
    sets = shingles(rows, words, Words())
    expected = [plain_shingles(row, words) for row in rows]
    assert [len(np.unique(sets[i])) for i in range(len(sets))] == [len(row) for row in expected]
    for i in range(len(rows)):
        for j in range(len(rows)):
            union = len(expected[i] | expected[j])
            assert jaccard(sets[i], sets[j]) == pytest.approx(len(expected[i] & expected[j]) / union)


@pytest.mark.parametrize("size", [3, 20, 300])
def test_the_estimate_is_close_to_the_exact_similarity(size: int) -> None:
    draw = random.Random(0)
    errors = []
    for _ in range(60):
        chosen = draw.sample(WORDS, 2 * size)
        shift = draw.randrange(size + 1)
        a, b = chosen[:size], chosen[shift : shift + size]
        sets = shingles([a, b], 1, Words())
        first, second = signatures(sets, ANY.hashes)
        errors.append(float((first == second).mean()) - jaccard(sets[0], sets[1]))
    assert np.abs(errors).max() < 4.5 * 0.5 / np.sqrt(ANY.hashes)  # 4.5 of the largest standard error
    assert abs(np.mean(errors)) < 0.02


@given(st.lists(texts, min_size=1, max_size=8), st.integers(0, 7))
def test_an_identical_row_is_always_found(rows: list[list[str]], chosen: int) -> None:
    row = rows[chosen % len(rows)]
    alike = next(
        i for i, other in enumerate(rows) if plain_shingles(other, ANY.words) == plain_shingles(row, ANY.words)
    )
    assert list(Index(rows, ANY).near([row])) == [Match(0, alike, 1.0, 1.0)]


def test_case_punctuation_and_the_order_of_texts_do_not_count() -> None:
    index = Index([["A man, a plan!", "It is raining hard"]], ANY)
    assert [match.exact for match in index.near([["it is RAINING hard.", "a man a plan"]])] == [1.0]


def test_the_most_similar_row_is_given_and_the_first_of_equals() -> None:
    draw = random.Random(3)
    bases = [draw.sample(WORDS, 60) for _ in range(4)]
    held, rows = [], []
    for _ in range(40):  # groups of rows of which many resemble each other, more and less
        for base in bases:
            cut, end = draw.randrange(0, 12), draw.randrange(48, 60)
            held.append([" ".join(base[cut:end])])
            rows.append([" ".join(base[draw.randrange(0, 12) : draw.randrange(48, 60)])])
    expected = {}
    sets, own = shingles(held, ANY.words, Words()), shingles(rows, ANY.words, Words())
    for row in range(len(rows)):
        exact = [jaccard(own[row], sets[other]) for other in range(len(held))]
        expected[row] = (exact.index(max(exact)), max(exact))
    assert {match.row: (match.other, match.exact) for match in Index(held, ANY).near(rows)} == expected


def test_only_rows_at_the_threshold_are_given() -> None:
    a, b = "a b c d e f g", "a b c d e f x"  # five trigrams each, four of them shared: 4 / 6
    assert len(list(Index([[a]], Nearness(threshold=0.66)).near([[b]]))) == 1
    assert not list(Index([[a]], Nearness(threshold=0.67)).near([[b]]))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(1)
    held = [[" ".join(draw.choices(WORDS[:30], k=6))] for _ in range(60)]
    rows = [[text.replace(draw.choice(WORDS[:30]), "new")] for (text,) in held]
    whole = list(Index(held, ANY).near(rows))
    monkeypatch.setattr(minhash, "BLOCK", 7)
    monkeypatch.setattr(minhash, "PAIRS", 3)
    assert list(Index(held, ANY).near(rows)) == whole
    assert len(whole) > 20


def test_nearly_all_pairs_at_the_default_threshold_are_found() -> None:
    draw = random.Random(2)
    found = 0
    for _ in range(100):
        chosen = draw.sample(WORDS, 50)
        held, row = chosen[:40], chosen[10:]  # 30 of 50 shared: 0.6
        found += len(list(Index([held], ANY).near([row])))
    assert found >= 95


def test_nothing_is_near_an_empty_index() -> None:
    assert list(Index([], ANY).near([["a text"]])) == []


@pytest.mark.parametrize("threshold", [0, 1.1, -1])
def test_a_threshold_is_a_similarity(threshold: float) -> None:
    with pytest.raises(UserError, match="threshold"):
        build(Nearness, {"threshold": threshold}, "--threshold")
