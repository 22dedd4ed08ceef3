"""What is done with a ranking: candidates, weights, mixtures and rounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.errors import UserError
from multigraft.library.transfer import (
    average_weights,
    best_of,
    mixture_members,
    successive_halving,
    top,
    weighted_average,
)

SCORES = {"a": 0.1, "b": 0.6, "c": -0.2, "d": 0.3}
REAL = st.floats(-1e308, 1e308)


def test_the_best_come_first_and_equal_ones_as_given() -> None:
    assert top(SCORES, 3) == ["b", "d", "a"]
    assert top({"x": 1.0, "z": 2.0, "y": 2.0}, 3) == ["z", "y", "x"]


@pytest.mark.parametrize("k", [-1, 0, 5])
def test_k_is_from_one_to_the_number_of_sources(k: int) -> None:
    with pytest.raises(UserError, match="choose from 1 to 4, the number of sources"):
        top(SCORES, k)


def test_the_best_run_of_the_candidates_counts() -> None:
    validation = {"a": 90.0, "b": 70.0, "d": 75.0}
    assert best_of(SCORES, 2, validation) == "d"  # a, the best of all, is not a candidate
    assert best_of(SCORES, 3, validation) == "a"
    with pytest.raises(UserError, match="no validation score of the run from 'c'"):
        best_of(SCORES, 4, validation)


def test_weights_are_shares_of_the_similarities() -> None:
    assert average_weights(SCORES, 3) == pytest.approx({"b": 0.6, "d": 0.3, "a": 0.1})
    assert average_weights(SCORES, 1) == {"b": 1.0}


def test_a_similarity_that_is_not_positive_counts_as_nothing() -> None:
    assert average_weights(SCORES, 4) == pytest.approx({"b": 0.6, "d": 0.3, "a": 0.1, "c": 0.0})
    # By the formula as it stands: 0.3 / (0.3 - 0.299), weights of 300 and -299.
    assert average_weights({"a": 0.3, "b": -0.299}, 2) == {"a": 1.0, "b": 0.0}


@pytest.mark.parametrize("scores", [{"a": -0.1, "b": -0.7}, {"a": 0.0, "b": 0.0}])
def test_without_a_positive_similarity_all_weigh_the_same(scores: dict[str, float]) -> None:
    assert average_weights(scores, 2) == {"a": 0.5, "b": 0.5}


def test_large_scores_do_not_overflow() -> None:
    assert average_weights({"a": 1.5e308, "b": 1.5e308}, 2) == {"a": 0.5, "b": 0.5}


@given(st.dictionaries(st.text(max_size=3), REAL, min_size=1, max_size=6), st.data())
def test_weights_are_shares_of_one(scores: dict[str, float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(scores)))
    weights = average_weights(scores, k)
    assert list(weights) == top(scores, k)
    assert sum(weights.values()) == pytest.approx(1)
    assert all(0 <= weight <= 1 for weight in weights.values())


def test_prompts_are_averaged_by_weight() -> None:
    prompts = {"a": np.full((2, 3), 1.0), "b": np.full((2, 3), 5.0), "c": np.zeros((4, 3))}
    assert np.array_equal(weighted_average(prompts, {"b": 0.75, "a": 0.25}), np.full((2, 3), 4.0))
    with pytest.raises(UserError, match="the prompt of 'a' is 2 x 3, that of 'c' 4 x 3"):
        weighted_average(prompts, {"a": 0.5, "c": 0.5})


def test_a_mixture_holds_the_target_once() -> None:
    assert mixture_members(SCORES, 2, "target") == ["b", "d", "target"]
    assert mixture_members(SCORES, 2, "b") == ["d", "a", "b"]


def test_halving_by_hand() -> None:
    assert successive_halving(4, 12) == [(4, 1), (2, 2), (1, 4)]
    assert successive_halving(4, 100) == [(4, 8), (2, 16), (1, 36)]  # 33 of each round; 4 * 8 and 2 * 16 of them
    assert successive_halving(1, 7) == [(1, 7)]
    assert [found.candidates for found in successive_halving(9, 1000)] == [9, 5, 3, 2, 1]


@given(st.integers(1, 40), st.integers(0, 5000))
def test_halving_spends_the_steps_of_one_run(k: int, more: int) -> None:
    least = k * len(successive_halving(k, 10**6))
    rounds = successive_halving(k, least + more)
    assert sum(candidates * steps for candidates, steps in rounds) == least + more
    assert (rounds[0].candidates, rounds[-1].candidates) == (k, 1)
    assert all(steps > 0 for _, steps in rounds)
    with pytest.raises(UserError, match=f"give at least {least}"):
        successive_halving(k, least - 1)


def test_halving_needs_a_candidate() -> None:
    with pytest.raises(UserError, match="choose at least one candidate"):
        successive_halving(0, 100)
