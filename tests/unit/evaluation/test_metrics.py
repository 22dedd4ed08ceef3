"""Metrics: equal to scikit-learn's and scipy's, also for many resamples at once, and never a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as peers

from multigraft.errors import UserError
from multigraft.evaluation.metrics import METRICS, average, score, scores
from multigraft.tasks.task import METRICS as METRICS_OF

CHOICE: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": peers.accuracy_score,
    "f1": lambda targets, predictions: peers.f1_score(targets == 1, predictions == 1, zero_division=0),
    "macro_f1": lambda targets, predictions: peers.f1_score(targets, predictions, average="macro"),
    "matthews": peers.matthews_corrcoef,
}
NUMBER: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "pearson": lambda targets, predictions: stats.pearsonr(targets, predictions).statistic,
    "spearman": lambda targets, predictions: stats.spearmanr(targets, predictions).statistic,
}


@pytest.mark.parametrize("metric", CHOICE)
@given(classes=st.integers(1, 5), size=st.integers(1, 60), seed=st.integers(0, 999))
def test_choices_agree_with_scikit_learn(metric: str, classes: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    predictions, targets = rng.integers(classes, size=(2, size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        expected = 100 * CHOICE[metric](targets, predictions)
    assert score(metric, predictions, targets) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", NUMBER)
@given(size=st.integers(3, 60), seed=st.integers(0, 999), levels=st.sampled_from([3, 20, 10**9]))
def test_numbers_agree_with_scipy(metric: str, size: int, seed: int, levels: int) -> None:
    # Few levels make ties.
    predictions, targets = np.random.default_rng(seed).integers(levels, size=(2, size)) / 7
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs: constant input gives nan
        expected = np.nan_to_num(100 * NUMBER[metric](targets, predictions))
    assert score(metric, predictions, targets) == pytest.approx(expected, abs=1e-7)


def test_every_metric_that_a_task_may_name_is_tested_above() -> None:
    assert set(CHOICE) == set(METRICS_OF["choice"])
    assert set(NUMBER) == set(METRICS_OF["number"])
    assert set(METRICS) == {*CHOICE, *NUMBER}


@pytest.mark.parametrize("metric", METRICS)
def test_many_at_once_is_one_by_one(metric: str) -> None:
    predictions, targets = np.random.default_rng(0).integers(3, size=(2, 4, 5, 3))
    together = scores(metric, predictions, targets)
    assert together.shape == (4, 5)
    apart = [[score(metric, predictions[i, j], targets[i, j]) for j in range(5)] for i in range(4)]
    np.testing.assert_allclose(together, apart, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        scores(metric, predictions, targets[0, 0])[1, 2], score(metric, predictions[1, 2], targets[0, 0])
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("metric", ["matthews", "pearson", "spearman"])
@pytest.mark.parametrize("constant", [1, 0.1])
def test_constant_predictions_correlate_with_nothing(metric: str, constant: float) -> None:
    targets = np.arange(10) % 3
    assert score(metric, np.full(10, constant), targets) == 0
    assert score(metric, targets, np.full(10, constant)) == 0
    assert score(metric, np.full(50, constant), np.full(50, 0.3)) == 0  # the mean of 50 times 0.3 is not quite 0.3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("metric", METRICS)
def test_perfect_is_100(metric: str) -> None:
    targets = np.array([0, 1, 1, 0, 1, 2])
    assert score(metric, targets, targets) == pytest.approx(100)


def test_f1_is_that_of_the_second_option() -> None:
    targets, predictions = np.array([1, 0, 0, 0]), np.array([1, 1, 0, 0])
    assert score("f1", predictions, targets) == pytest.approx(100 * 2 / 3)
    assert score("f1", 1 - predictions, 1 - targets) == pytest.approx(100 * 4 / 5)
    assert score("f1", np.zeros(4, int), targets) == 0


def test_average_is_the_published_one() -> None:
    """Columns of arXiv 1902.02671, table 2: MNLI (two), QQP F1, QNLI, SST-2, CoLA, STS-B, MRPC F1, RTE."""
    columns = ("mnli", "mnli_mm", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte")
    rows = {
        79.6: (84.6, 83.4, 71.2, 90.1, 93.5, 52.1, 85.8, 88.9, 66.4),  # eight models
        79.9: (84.0, 83.4, 70.8, 89.3, 93.4, 51.2, 83.6, 86.7, 76.6),  # one shared encoder
        80.4: (84.3, 83.5, 71.5, 90.0, 92.6, 51.2, 85.8, 88.7, 76.0),  # PALs
    }
    for published, values in rows.items():
        assert average(dict(zip(columns, values, strict=True))) == pytest.approx(published, abs=0.05)


def test_unknown_metric() -> None:
    with pytest.raises(UserError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        score("acuracy", np.zeros(2), np.zeros(2))
