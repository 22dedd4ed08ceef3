"""Judging predictors: the figures by hand, on the published matrix, and as they must be for known predictors."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel
from scipy.stats import pearsonr, spearmanr

from multigraft.errors import UserError
from multigraft.evaluation.judge import judge
from multigraft.evaluation.transfer_matrix import TransferMatrix, read_matrix

PUBLISHED = Path(__file__).parents[4] / "shared" / "reference" / "spot" / "transfer_matrix.csv"


def matrix_of(scores: list | np.ndarray, none: list | np.ndarray) -> TransferMatrix:
    """From scores S x N x M, or N x M of one seed."""
    scores, none = np.array(scores, float), np.array(none, float)
    if scores.ndim == 2:
        scores, none = scores[None], none[None]
    sources, targets = (tuple(f"{kind}{i}" for i in range(size)) for kind, size in zip("st", scores.shape[1:]))
    return TransferMatrix(sources, targets, scores, none)


def random_matrix(seeds: int = 1, sources: int = 6, targets: int = 4) -> TransferMatrix:
    rng = np.random.default_rng(seeds)
    means = rng.normal(70, 8, (sources, targets))
    return matrix_of(means + rng.normal(0, 1, (seeds, sources, targets)), 70 + rng.normal(0, 1, (seeds, targets)))


def rounded(value: Any) -> Any:
    """A record as plain values, without roundings."""
    if isinstance(value, BaseModel):
        return rounded(value.model_dump())
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    return round(value, 9) if isinstance(value, float) else value


SMALL = matrix_of([[60, 90], [70, 60], [50, 85]], [60, 80])


def test_by_hand() -> None:
    found = judge(SMALL, sizes=np.array([10, 20, 20]))
    assert found.no_transfer.score == 70
    assert found.mean_of_sources.score == pytest.approx((60 + 235 / 3) / 2)
    single = found.best_single_source
    assert (single.source, single.figures.score, single.figures.gain) == ("s0", 75, 5)
    assert single.figures.relative == pytest.approx((0 + 50) / 2)  # of errors of 40 and 20
    assert single.figures.regret == pytest.approx(100 * (10 / 70 + 0) / 2)
    # Without t0 the best source is s0, with 60 on t0; without t1 it is s1, with 60 on t1.
    assert [one.chosen_by_others for one in found.targets] == ["s0", "s1"]
    assert found.best_single_source_left_out is not None
    assert found.best_single_source_left_out.score == 60
    assert found.largest_source is not None
    assert found.largest_source.score == (60 + 72.5) / 2  # s1 and s2 are equally large
    assert found.oracle.score == 80
    assert (found.cells, found.negative_cells) == (6, 2)
    assert [best.random.score for best in found.best_of] == pytest.approx(
        [(60 + 235 / 3) / 2, ((70 + 70 + 60) / 3 + (90 + 90 + 85) / 3) / 2, 80]
    )
    assert [best.fixed and best.fixed.score for best in found.best_of] == [60, 75, 80]  # s0, s2, s1; s1, s0, s2
    # The oracle gains 10 points. Two random sources gain 7.5 of them.
    assert found.saved.random == (3, 0)
    assert found.saved.predicted is None


def test_a_prediction_by_hand() -> None:
    predicted = np.array([[3, 3], [1, 2], [2, 1]])
    found = judge(SMALL, predicted, ks=[2, 1, 2])
    assert [best.k for best in found.best_of] == [1, 2]
    first, second = (best.predicted for best in found.best_of)
    assert first is not None
    assert second is not None
    assert (first.score, second.score) == (75, 75)  # s0 and s0; then s0, s2 and s0, s1
    assert found.saved.predicted == (3, 0)
    over = found.best_of[0].over_fixed
    assert over is not None
    assert over.difference == 15
    target = found.targets[0]
    assert (target.pearson, target.pearson_p) == pytest.approx(tuple(pearsonr([3, 1, 2], [60, 70, 50])))
    assert (target.spearman, target.spearman_p) == pytest.approx(tuple(spearmanr([3, 1, 2], [60, 70, 50])))
    assert target.ndcg == pytest.approx((10 + 0 + 20 / 2) / (20 + 10 / np.log2(3)))


def test_a_perfect_prediction_is_the_oracle() -> None:
    matrix = random_matrix()
    found = judge(matrix, matrix.scores[0])
    for best in found.best_of:
        assert best.predicted == found.oracle
    assert found.saved.predicted == (1, 5 / 6)
    assert all(target.ndcg == pytest.approx(1) and target.pearson == pytest.approx(1) for target in found.targets)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_prediction_without_content_is_random(seeds: int) -> None:
    matrix = random_matrix(seeds)
    found = judge(matrix, np.zeros((6, 4)))
    for best in found.best_of:
        assert best.predicted is not None
        assert rounded(best.predicted) == rounded(best.random)
        assert best.over_random is not None
        assert (best.over_random.difference, best.over_random.p) == (pytest.approx(0), 1)
    assert found.saved.predicted == found.saved.random
    assert all(target.ndcg == target.random_ndcg and target.pearson is None for target in found.targets)


def test_only_the_order_of_predictions_counts() -> None:
    matrix = random_matrix()
    predicted = np.random.default_rng(5).integers(0, 4, (6, 4)).astype(float)
    found, again = judge(matrix, predicted), judge(matrix, np.exp(predicted) - 50)
    assert found.best_of == again.best_of
    assert [one.ndcg for one in found.targets] == [one.ndcg for one in again.targets]
    assert [one.spearman for one in found.targets] == [one.spearman for one in again.targets]


def test_more_sources_are_never_worse() -> None:
    found = judge(random_matrix(), np.random.default_rng(5).standard_normal((6, 4)))
    for family in ("random", "fixed", "predicted"):
        scores = [getattr(best, family).score for best in found.best_of]
        assert scores == sorted(scores)
        assert scores[-1] == pytest.approx(found.oracle.score)


def test_intervals_over_seeds_follow_the_spread_of_seeds() -> None:
    # Two seeds 4 points apart: a resample has one of them in both places a quarter of the time each.
    by_seed = np.array([[[70.0, 80], [60, 60]], [[74, 84], [60, 60]]])
    found = judge(matrix_of(by_seed, [[60, 60], [60, 60]]))
    assert found.interval_over == "seeds"
    assert found.best_single_source.figures.gain == 17
    assert found.best_single_source.figures.interval == (15, 19)
    assert found.no_transfer.interval == (0, 0)


def test_choices_that_look_at_scores_are_made_anew_in_every_resample() -> None:
    # Which source is best turns with the seed: on average they are equal, in a resample one of them wins.
    by_seed = np.array([[[70.0], [60]], [[60], [70]]])
    found = judge(matrix_of(by_seed, [[60], [60]]))
    assert found.oracle.gain == 5
    assert found.oracle.interval == (5, 10)
    assert found.mean_of_sources.interval == (5, 5)


def test_resamples_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = random_matrix(3)
    whole = judge(matrix)
    monkeypatch.setattr("multigraft.evaluation.judge._AT_ONCE", 100)
    assert rounded(judge(matrix)) == rounded(whole)


def test_intervals_over_targets_with_one_seed() -> None:
    found = judge(SMALL)
    assert found.interval_over == "targets"
    assert found.best_single_source.figures.interval == (0, 10)  # the gain of either target alone
    assert judge(matrix_of([[70], [60]], [65])).interval_over is None


def test_one_target_has_no_other_targets() -> None:
    found = judge(matrix_of([[70], [60]], [65]), np.array([[1], [0]]))
    assert found.best_single_source_left_out is None
    assert found.targets[0].chosen_by_others is None
    assert (found.best_of[0].fixed, found.best_of[0].over_fixed, found.saved.fixed) == (None, None, None)
    assert found.oracle.interval is None
    assert found.targets[0].pearson is None  # two points are always on a line


def test_what_is_not_defined_is_left_out() -> None:
    nothing_left = judge(matrix_of([[100, 70], [100, 75]], [100, 50]))
    assert nothing_left.oracle.relative == 50  # of the second target; the first has no error
    assert judge(matrix_of([[100], [100]], [100])).oracle.relative is None
    below = judge(matrix_of([[-5, 50], [-7, 40]], [0, 60]))
    assert below.mean_of_sources.regret == pytest.approx(10)  # of the second target; the first has no positive score
    assert below.saved.random is None  # the oracle gains nothing
    equal = judge(matrix_of([[50, 60], [50, 70], [50, 80]], [50, 50]), np.arange(6.0).reshape(3, 2))
    assert (equal.targets[0].ndcg, equal.targets[0].random_ndcg, equal.targets[0].pearson) == (None, None, None)


def test_roundings_are_no_negative_gains() -> None:
    matrix = matrix_of([[[54.1]], [[98.9]], [[91.2]]], [[91.2], [98.9], [54.1]])
    assert matrix.scores.mean() < matrix.none.mean()
    assert judge(matrix).negative_cells == 0


@pytest.mark.parametrize("k", [0, -1, 4])
def test_k_is_a_number_of_sources(k: int) -> None:
    with pytest.raises(UserError, match=f"k is {k}; choose from 1 to 3, the number of sources"):
        judge(SMALL, ks=[k])


@pytest.fixture(scope="module")
def published() -> TransferMatrix:
    if not PUBLISHED.exists():
        pytest.skip("the published matrix is not there")
    return read_matrix(PUBLISHED)


def test_the_published_matrix(published: TransferMatrix) -> None:
    """arXiv 2110.07904, table 6, of which the paper gives the first of these figures."""
    found = judge(published)
    assert (len(found.sources), len(found.targets), found.cells, found.negative_cells) == (16, 10, 160, 60)
    assert found.no_transfer.score == pytest.approx(74.68)
    assert (found.best_single_source.source, round(found.best_single_source.figures.score, 2)) == ("MNLI", 78.59)
    assert [one.chosen_by_others for one in found.targets] == ["MNLI"] * 10
    assert found.oracle.score == pytest.approx(79.42)
    assert found.mean_of_sources.score == pytest.approx(published.scores.mean())
    assert found.mean_of_sources.gain == pytest.approx(-0.001875)
    assert [best.k for best in found.best_of] == list(range(1, 17))
    assert [round(best.random.score, 2) for best in found.best_of] == [
        74.68, 76.09, 76.77, 77.22, 77.56, 77.84, 78.07, 78.27, 78.45, 78.61, 78.76, 78.9, 79.04, 79.17, 79.3, 79.42,
    ]  # fmt: skip
    all_fives = [published.scores[0][list(chosen)].max(axis=0) for chosen in combinations(range(16), 5)]
    assert found.best_of[4].random.score == pytest.approx(np.mean(all_fives))
