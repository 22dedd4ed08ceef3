"""Statistics against what theory says of known distributions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from multigraft.evaluation.statistics import Predictions, holm, interval, mean_stderr, paired, resample

ACCURACY = {"a": "accuracy", "b": "accuracy"}


def answers(share: float, size: int, seed: int, seeds: int = 1) -> tuple[np.ndarray, list[np.ndarray]]:
    """Targets, and predictions that are right with probability `share`, for each of some seeds."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(2, size=size)
    return targets, [np.where(rng.random(size) < share, targets, 1 - targets) for _ in range(seeds)]


def test_mean_and_standard_error() -> None:
    assert mean_stderr([80.0, 81.0, 85.0]) == (82.0, pytest.approx(np.sqrt(7 / 3)))
    assert mean_stderr([80.0]) == (80.0, None)


def test_interval_of_an_accuracy_is_the_binomial_one() -> None:
    targets, predictions = answers(0.8, 500, seed=0)
    right = float((predictions[0] == targets).mean())
    low, high = interval(resample({"a": (targets, predictions)}, ACCURACY, resamples=5000))
    expected = [value / 5 for value in binom.interval(0.95, 500, right)]
    assert [low, high] == pytest.approx(expected, abs=0.4)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    covered = 0
    for trial in range(300):
        low, high = interval(resample({"a": answers(0.7, 200, trial)}, ACCURACY, resamples=300), level=0.9)
        covered += low <= 70 <= high
    # 270 are expected; four standard deviations of a binomial are 21.
    assert abs(covered - 270) <= 21


def test_interval_of_a_correlation_is_near_fishers() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=1000)
    predictions = 0.6 * targets + 0.8 * rng.normal(size=1000)
    observed = np.arctanh(np.corrcoef(targets, predictions)[0, 1])
    expected = 100 * np.tanh(observed + np.array([-1.96, 1.96]) / np.sqrt(997))
    low, high = interval(resample({"a": (targets, [predictions])}, {"a": "pearson"}))
    assert [low, high] == pytest.approx(list(expected), abs=0.8)


def test_an_average_over_tasks_is_surer_than_one_task() -> None:
    run: Predictions = {"a": answers(0.7, 400, 0), "b": answers(0.7, 400, 0)}
    widths = [np.ptp(interval(resample(part, ACCURACY))) for part in ({"a": run["a"]}, run)]
    assert widths[1] / widths[0] == pytest.approx(1 / np.sqrt(2), rel=0.1)


def test_seeds_that_differ_widen_the_interval() -> None:
    targets, (good, bad) = answers(0.9, 2000, 0)[0], (answers(0.9, 2000, 0)[1][0], answers(0.5, 2000, 0)[1][0])
    low, high = interval(resample({"a": (targets, [good, bad])}, ACCURACY))
    assert low < 55  # both seeds drawn are the bad one, one time in four
    assert high > 85


def test_same_seed_same_interval() -> None:
    run: Predictions = {"a": answers(0.7, 100, 0)}
    assert interval(resample(run, ACCURACY)) == interval(resample(run, ACCURACY))
    assert interval(resample(run, ACCURACY)) != interval(resample(run, ACCURACY, seed=1))


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_run_does_not_differ_from_itself(seeds: int) -> None:
    run: Predictions = {"a": answers(0.7, 150, 0, seeds), "b": answers(0.6, 90, 1, seeds)}
    assert paired(resample(run, ACCURACY), resample(run, ACCURACY)) == (0.0, (0.0, 0.0), 1.0)


@given(seed=st.integers(0, 10**6), seeds=st.integers(1, 3), other_seeds=st.integers(1, 3))
def test_a_comparison_is_symmetric(seed: int, seeds: int, other_seeds: int) -> None:
    targets, first = answers(0.7, 40, seed, seeds)
    second = [np.roll(first[0], shift) for shift in range(other_seeds)]
    a, b = {"a": (targets, first)}, {"a": (targets, second)}
    there, back = (
        paired(resample(a, ACCURACY, resamples=200), resample(b, ACCURACY, resamples=200)),
        paired(resample(b, ACCURACY, resamples=200), resample(a, ACCURACY, resamples=200)),
    )
    assert there.p == back.p
    assert there.difference == -back.difference
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))


def test_pairing_sees_what_two_intervals_cannot() -> None:
    """A run that mends ten of another's errors and breaks none is surely better, though their intervals overlap."""
    targets, (worse,) = answers(0.7, 300, 0)
    better = worse.copy()
    better[np.flatnonzero(worse != targets)[:10]] = targets[np.flatnonzero(worse != targets)[:10]]
    a, b = {"a": (targets, [better])}, {"a": (targets, [worse])}
    result = paired(resample(a, ACCURACY), resample(b, ACCURACY))
    assert result.difference == pytest.approx(10 / 3)
    assert 1e-6 < result.p < 2 / 1001  # no resample turns the sign: the normal tail tells how far it is from doing so
    assert result.interval[0] > 0
    assert interval(resample(a, ACCURACY))[0] < interval(resample(b, ACCURACY))[1]


def test_p_is_rarely_small_when_nothing_differs() -> None:
    small = 0
    for trial in range(300):
        targets, predictions = answers(0.7, 150, trial, seeds=2)
        a, b = {"a": (targets, predictions[:1])}, {"a": (targets, predictions[1:])}
        small += paired(resample(a, ACCURACY, resamples=300), resample(b, ACCURACY, resamples=300)).p <= 0.1
    # 30 are expected; four standard deviations of a binomial are 21.
    assert abs(small - 30) <= 21


def test_the_order_of_tasks_does_not_matter() -> None:
    a: Predictions = {"a": answers(0.7, 60, 0), "b": answers(0.6, 60, 1)}
    b: Predictions = {"b": (a["b"][0], [a["b"][0]]), "a": (a["a"][0], [a["a"][0]])}
    turned: Predictions = dict(reversed(list(a.items())))
    assert paired(resample(a, ACCURACY), resample(b, ACCURACY)) == paired(
        resample(turned, ACCURACY), resample(b, ACCURACY)
    )


def test_runs_on_other_examples_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="the same tasks"):
        paired(resample({"a": answers(0.7, 60, 0)}, ACCURACY), resample({"a": answers(0.7, 60, 1)}, ACCURACY))
    with pytest.raises(ValueError, match="the same tasks"):
        paired(resample({"a": answers(0.7, 60, 0)}, ACCURACY), resample({"b": answers(0.7, 60, 0)}, ACCURACY))


def test_resamples_of_large_splits_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    run: Predictions = {"a": answers(0.7, 500, 0)}
    whole = interval(resample(run, ACCURACY, resamples=400))
    monkeypatch.setattr("multigraft.evaluation.statistics._AT_ONCE", 1700)
    assert interval(resample(run, ACCURACY, resamples=400)) == whole


def test_holm_by_hand() -> None:
    # Holm's sequence: 0.01 * 4, 0.02 * 3, 0.03 * 2 raised to 0.06, 0.9 * 1.
    assert holm([0.9, 0.01, 0.03, 0.02]) == pytest.approx([0.9, 0.04, 0.06, 0.06])
    assert holm([0.8, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_the_plain_and_bonferronis(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(p <= q <= min(1, p * len(values)) + 1e-12 for p, q in zip(values, adjusted, strict=True))
    assert np.argsort(values, kind="stable").tolist() == sorted(
        range(len(values)), key=lambda i: (adjusted[i], values[i], i)
    )
