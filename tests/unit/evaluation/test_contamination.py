"""Overlap of evaluation rows with training texts, against a search word by word; and the clean score."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.evaluation import contamination
from multigraft.evaluation.contamination import WORDS, CleanScore, clean_score, overlaps
from multigraft.evaluation.template_statistics import Templated
from multigraft.evaluation.text_metrics import text_scores

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def found(rows: list[str], training: list[str], n: int = WORDS) -> list[bool]:
    return [bool(value) for value in overlaps(rows, training, n)]


def by_search(row: str, training: list[str], n: int) -> bool:
    def words(text: str) -> list[str]:
        return re.findall(r"\w+", text.lower())

    size = min(n, len(words(row)))
    grams = {tuple(words(row)[i : i + size]) for i in range(len(words(row)) - size + 1)} if size else set()
    return any(
        tuple(words(text)[i : i + size]) in grams for text in training for i in range(len(words(text)) - size + 1)
    )


def test_thirteen_words_in_a_row() -> None:
    training = ["x " + " ".join(LETTERS[:13]) + " y"]
    assert found([" ".join(LETTERS[:13]) + " z", " ".join(LETTERS[1:14])], training) == [True, False]


def test_case_and_punctuation_do_not_matter() -> None:
    assert found(["The cat's hat, now!"], ["THE CAT S HAT (now) is red"], 5) == [True]


def test_a_row_of_fewer_words_overlaps_whole_or_not_at_all() -> None:
    training = ["it is a small red house", "a tree"]
    rows = ["small red house", "a small house", "tree", "house a tree", "", "?!"]
    assert found(rows, training) == [True, False, True, False, False, False]


def test_words_of_two_training_texts_are_not_in_a_row() -> None:
    assert found(["a b c d"], ["x a b", "c d x"], 3) == [False]
    assert found(["a b c d"], ["x a b", "a b c d"], 3) == [True]


def test_nothing_overlaps_with_nothing() -> None:
    assert found([], ["a b c"]) == []
    assert found(["a b c", ""], []) == [False, False]
    assert found(["", "  "], ["", "a"]) == [False, False]


@pytest.mark.parametrize("texts", [1, 3, 1000])
@given(seed=st.integers(0, 10**6), n=st.integers(1, 6))
def test_it_is_what_a_search_finds(texts: int, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    rows, training = ([" ".join(rng.choice(list("abc"), size)) for size in rng.integers(0, 10, 8)] for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contamination, "_TEXTS", texts)
        assert found(rows, training, n) == [by_search(row, training, n) for row in rows]


def test_training_texts_are_read_as_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contamination, "_TEXTS", 10)
    held: list[int] = []
    hashed = contamination._words
    monkeypatch.setattr(contamination, "_words", lambda texts: held.append(len(texts)) or hashed(texts))

    def texts() -> Iterator[str]:
        yield from (f"text {number}" for number in range(95))

    assert overlaps(["text 94", "text 95"], texts()).tolist() == [True, False]
    assert held == [2, *[10] * 9, 5]


def test_a_hash_beyond_the_last_one_is_not_found() -> None:
    index = contamination._Index(np.array([5], np.uint64), np.array([3]))
    index.mark(np.array([4, 6], np.uint64), np.array([True, True]))  # as near as the first bits tell
    assert index.marked().tolist() == []
    index.mark(np.array([5], np.uint64), np.array([False]))
    assert index.marked().tolist() == []
    index.mark(np.array([5], np.uint64), np.array([True]))
    assert index.marked().tolist() == [3]


def task(right: np.ndarray) -> Templated:
    """A task in one template for each row of (K, n)."""
    return Templated("accuracy", tuple(map(str, range(len(right)))), np.ones(right.shape[1]), right[None].astype(float))


def test_clean_score_by_hand() -> None:
    right = np.array([[1, 1, 1, 0, 0, 1], [1, 1, 0, 0, 0, 0]])
    overlapping = np.array([True, True, False, False, False, False])
    got = clean_score(task(right), overlapping)
    assert (got.rows, got.overlapping) == (6, 2)
    assert got.full == pytest.approx(50)
    assert got.clean == pytest.approx(25)
    assert got.difference is not None
    assert got.difference.difference == pytest.approx(-25)
    assert got.difference.interval[0] < -25 < got.difference.interval[1]


def test_contamination_that_helps_is_seen_and_none_is_not() -> None:
    rng = np.random.default_rng(0)
    overlapping = np.arange(400) < 100
    helped = clean_score(task(rng.random((2, 400)) < 0.6 + 0.35 * overlapping), overlapping)
    assert helped.difference is not None
    assert helped.difference.interval[1] < 0
    covered = 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        plain = clean_score(task(rng.random((1, 200)) < 0.6), rng.random(200) < 0.3, resamples=200)
        assert plain.difference is not None
        covered += plain.difference.interval[0] <= 0 <= plain.difference.interval[1]
    assert abs(covered - 95) <= 9  # four standard deviations of a binomial


def test_all_clean_and_none_clean() -> None:
    right = np.array([[1, 0, 1, 1]])
    assert clean_score(task(right), np.zeros(4, bool)) == CleanScore(4, 0, 75, 75, (0, (0, 0), 1))  # type: ignore[arg-type]
    assert clean_score(task(right), np.ones(4, bool)) == CleanScore(4, 4, 75, None, None)


def test_clean_score_of_a_corpus_metric_is_that_of_the_clean_texts() -> None:
    references = ["the cat sat on the mat", "it rains in the north today", "two birds sing in the tree", "a b c d e"]
    texts = ["the cat sat on the mat", "it rains in the south", "two birds sit in the tree", "a b c x e"]
    known = [[text] for text in references]
    statistics = text_scores("bleu", texts, known).statistics[None, None]
    overlapping = np.array([False, True, False, True])
    got = clean_score(Templated("bleu", ("t",), np.array(references), statistics), overlapping)
    assert got.full == pytest.approx(text_scores("bleu", texts, known).score)
    assert got.clean == pytest.approx(text_scores("bleu", texts[::2], known[::2]).score)


def test_of_real_rows_those_copied_from_training_overlap(data_folder: Path) -> None:
    lines = (data_folder / "tasks" / "rte" / "train.jsonl").read_text().splitlines()[:400]
    marked = overlaps(lines[:100] + [f"{number} " + line[::-1] for number, line in enumerate(lines[:100])], lines)
    assert marked[:100].all()
    assert not marked[100:].any()
