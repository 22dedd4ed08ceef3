"""Few-shot exemplars: they fit, they are whole, and the question is never among them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.evaluation.shots import ANSWER, BUDGET, SEPARATOR, SHOTS, draw, with_shots
from multigraft.tasks.outputs import Example
from multigraft.tasks.template import Rendered

POOL = [Example((f"question {number}",), ("no", "yes"), number % 2) for number in range(40)]


def words(text: str) -> int:
    return len(text.split())


def rendered(text: str, target: str = "yes") -> Rendered:
    return Rendered(text, target, ("no", "yes"), "t")


def test_the_papers_numbers() -> None:
    assert (SHOTS, BUDGET) == (16, 960)


def test_shots_by_hand() -> None:
    found = with_shots(rendered("c?", "no"), [rendered("a?"), rendered("b?")], words)
    assert found == Rendered(f"a?{ANSWER}yes{SEPARATOR}b?{ANSWER}yes{SEPARATOR}c?", "no", ("no", "yes"), "t")


@pytest.mark.parametrize(("budget", "shots"), [(100, 3), (11, 3), (10, 2), (8, 2), (7, 1), (4, 0), (1, 0)])
def test_as_many_as_fit_with_the_question(budget: int, shots: int) -> None:
    exemplars = [rendered("one two"), rendered("three four"), rendered("five six")]
    found = with_shots(rendered("who is"), exemplars, words, budget)
    assert found.input.count("yes") == shots
    assert found.input.endswith("who is")


def test_the_first_that_does_not_fit_ends_it() -> None:
    exemplars = [rendered("one"), rendered("far too long to be shown"), rendered("two")]
    assert with_shots(rendered("who"), exemplars, words, 6).input == f"one{ANSWER}yes{SEPARATOR}who"


@pytest.mark.parametrize("k", [0, 1, 3])
def test_at_most_k(k: int) -> None:
    exemplars = [rendered(f"number {i}") for i in range(5)]
    assert with_shots(rendered("who"), exemplars, words, k=k).input.count("yes") == k


@given(
    texts=st.lists(st.text("ab ", min_size=1, max_size=9), max_size=20),
    budget=st.integers(0, 60),
    k=st.integers(0, 20),
)
def test_no_shot_more_would_fit(texts: list[str], budget: int, k: int) -> None:
    exemplars = [rendered(text) for text in texts]
    found = with_shots(rendered("who is it"), exemplars, words, budget, k)
    shots = found.input.count("yes")
    inputs = [with_shots(rendered("who is it"), exemplars[:n], words, 10**6, k).input for n in range(shots + 2)]
    assert found.input == inputs[shots]
    assert shots == 0 or words(found.input) <= budget
    assert shots == min(k, len(texts)) or words(inputs[shots + 1]) > budget


def test_a_draw_hangs_on_the_example_and_the_seed_alone() -> None:
    assert draw(POOL[3], POOL) == draw(Example(("question 3",), (), 0), POOL)
    assert draw(POOL[3], POOL) != draw(POOL[4], POOL)
    assert draw(POOL[3], POOL) != draw(POOL[3], POOL, seed=1)
    assert draw(POOL[3], POOL, 16)[:4] == draw(POOL[3], POOL, 4)


@given(row=st.integers(0, 39), k=st.integers(0, 50), seed=st.integers(0, 99))
def test_different_rows_and_never_the_example(row: int, k: int, seed: int) -> None:
    found = draw(POOL[row], POOL, k, seed)
    assert len(found) == len({one.inputs for one in found}) == min(k, 39)
    assert POOL[row] not in found


def test_a_pool_of_copies_of_the_example_gives_nothing() -> None:
    copies = [Example(("same",), ("no", "yes"), label) for label in (0, 1, 0)]
    assert draw(copies[0], copies) == []
    assert draw(copies[0], []) == []
    assert draw(copies[0], [*copies, POOL[0]]) == [POOL[0]]


def test_every_row_is_drawn_as_often() -> None:
    questions = [Example((f"new {number}",), (), 0) for number in range(1000)]
    counts = Counter(one.inputs for question in questions for one in draw(question, POOL, 4))
    # 100 are expected for each; four standard deviations of a binomial are 38.
    assert len(counts) == 40
    assert all(abs(count - 100) < 45 for count in counts.values())
