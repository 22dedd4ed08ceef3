"""Ways to choose sources against enumeration of all choices."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from multigraft.evaluation.source_choice import best_of_top, best_single, ndcg, order_by_others

SCORES = st.lists(st.floats(-100, 100), min_size=1, max_size=7).map(np.array)


@given(SCORES)
def test_the_best_of_random_sources_is_the_mean_over_all_sets(scores: np.ndarray) -> None:
    expected = [np.mean([max(chosen) for chosen in combinations(scores, k)]) for k in range(1, len(scores) + 1)]
    assert best_of_top(scores, np.zeros(len(scores))) == pytest.approx(np.array(expected), abs=1e-9)


@settings(max_examples=30)
@given(SCORES.filter(lambda scores: len(scores) < 6), st.data())
def test_ties_are_the_mean_over_all_orders_that_keep_the_ranking(scores: np.ndarray, data: st.DataObject) -> None:
    predicted = np.array([data.draw(st.integers(0, 2)) for _ in scores], float)
    orders = [order for order in permutations(range(len(scores))) if (np.diff(predicted[list(order)]) <= 0).all()]
    expected = np.mean([np.maximum.accumulate(scores[list(order)]) for order in orders], axis=0)
    assert best_of_top(scores, predicted) == pytest.approx(expected, abs=1e-9)


def test_a_perfect_prediction_is_the_oracle_and_many_tables_are_done_at_once() -> None:
    scores = np.random.default_rng(0).standard_normal((3, 2, 9))
    assert np.array_equal(best_of_top(scores[0, 0], scores[0, 0]), np.full(9, scores[0, 0].max()))
    predicted = np.array([0, 1, 1, 2, 2, 2, 5, 4, 4.0])
    at_once = best_of_top(scores, predicted)
    assert at_once.shape == (3, 2, 9)
    assert at_once[2, 1] == pytest.approx(best_of_top(scores[2, 1], predicted))


def test_a_thousand_sources_are_no_problem() -> None:
    scores = np.arange(1.0, 1001)
    found = best_of_top(scores, np.zeros(1000))
    # Of 1..n the best of k has the expectation k (n + 1) / (k + 1).
    k = np.arange(1, 1001)
    assert found == pytest.approx(k * 1001 / (k + 1))


@given(SCORES.filter(lambda scores: len(scores) > 1 and np.ptp(scores) > 1e-3), st.data())
def test_ndcg_is_that_of_scikit_learn(scores: np.ndarray, data: st.DataObject) -> None:
    predicted = np.array([data.draw(st.integers(0, 3)) for _ in scores], float)
    assert ndcg(scores, predicted) == pytest.approx(ndcg_score([scores - scores.min()], [predicted]))


def test_ndcg_by_hand() -> None:
    scores = np.array([70.0, 72.0, 76.0])  # gains 0, 2, 6
    ideal = 6 + 2 / np.log2(3)
    assert ndcg(scores, np.array([1.0, 2.0, 3.0])) == pytest.approx(1)
    assert ndcg(scores, np.array([3.0, 2.0, 1.0])) == pytest.approx((2 / np.log2(3) + 6 / 2) / ideal)
    random = np.mean([ndcg(scores, np.array(order)) for order in permutations([1.0, 2.0, 3.0])])
    assert ndcg(scores, np.zeros(3)) == pytest.approx(random)
    assert ndcg(np.full(3, 70.0), np.array([1.0, 2.0, 3.0])) is None


def test_single_sources() -> None:
    scores = np.array([[50.0, 60, 70], [50, 90, 40], [80, 20, 30]])  # three targets from three sources
    assert best_single(scores) == 0  # averages 60, 56.7, 46.7
    # Without the first target: 130, 110, 70; without the second: 130, 80, 100; without the third: 100, 150, 110.
    assert order_by_others(scores).tolist() == [[0, 1, 2], [0, 2, 1], [1, 2, 0]]
    several = np.stack([scores, scores[:, ::-1]])
    assert best_single(several).tolist() == [0, 2]
    assert order_by_others(several)[1].tolist() == [[2, 1, 0], [2, 0, 1], [1, 0, 2]]


def test_equal_sources_come_in_the_order_given_whatever_the_roundings() -> None:
    scores = np.array([[87.3, 96.1], [85.4, 85.4], [96.1, 87.3], [50, 50]])
    assert scores[:3, 0].mean() < scores[:3, 1].mean()  # by a rounding
    assert best_single(scores[:3]) == 0
    assert order_by_others(scores)[3].tolist() == [0, 1]
