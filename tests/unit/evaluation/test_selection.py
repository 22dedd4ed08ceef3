"""Judging selectors: figures that can be worked out by hand, and what holds for any scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multigraft.evaluation.selection import Case, Selection, Way, judge_selectors


def case(target: str, scores: list[float], none: float = 40.0, **predicted: list[float]) -> Case:
    return Case(
        target=target,
        experts=tuple(f"e{i}" for i in range(len(scores))),
        none=none,
        scores=np.array(scores),
        halves=np.array([scores, scores]),
        predicted={name: np.array(values) for name, values in predicted.items()},
        passes=dict.fromkeys(predicted, (10, 32)),
        ways={"merge of all": float(np.mean(scores))},
    )


def ways(found: Selection) -> dict[str, Way]:
    return {way.name: way for way in found.ways}


def test_figures_by_hand() -> None:
    found = ways(judge_selectors([
        case("a", [50, 60, 80], best_on_average=[1, 3, 2], good=[0, 1, 2]),
        case("b", [70, 50, 30], best_on_average=[1, 3, 2], good=[0, 1, 2]),
    ]))  # fmt: skip
    assert found["backbone alone"].score == 40
    assert found["random"].score == pytest.approx((190 / 3 + 150 / 3) / 2)
    assert found["oracle"].score == 75
    single, good = found["best_on_average"], found["good"]
    assert (single.score, good.score) == (55, 55)
    assert single.gap_closed == good.gap_closed == 0
    assert good.regret == {1: 20, 3: 0}
    assert (good.median_rank, single.median_rank) == (2, 2)
    assert good.over_single == 0
    assert (good.backbone_passes, good.encoder_passes) == (10, 32)
    assert found["merge of all"].regret is None
    assert found["oracle"].gap_closed == 1


def test_the_oracle_is_scored_on_rows_that_did_not_choose_it() -> None:
    lucky = Case("a", ("x", "y"), 0.0, np.array([50.0, 50.0]), np.array([[100.0, 0.0], [0.0, 100.0]]), {}, {})
    assert lucky.oracle() == 0  # each half prefers the expert that fails on the other


def test_equal_predictions_are_a_draw() -> None:
    found = ways(judge_selectors([case("a", [10, 20, 60], best_on_average=[0, 0, 0])]))
    assert found["best_on_average"].score == found["random"].score == 30
    assert found["best_on_average"].median_rank == found["random"].median_rank == 2


def test_seeds_of_a_target_are_averaged_before_targets_are_compared() -> None:
    cases = [case("a", [10, 20], one=[0, 1]), case("a", [30, 40], one=[1, 0]), case("b", [50, 50], one=[1, 0])]
    assert ways(judge_selectors([*cases, cases[2]]))["one"].score == pytest.approx(((20 + 30) / 2 + 50) / 2)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 100), min_size=4, max_size=4), min_size=2, max_size=6), st.integers(0, 99))
def test_what_holds_for_any_scores(rows: list[list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    cases = [
        case(f"t{i}", [float(x) for x in row], right=[float(x) for x in row], any=rng.random(4).tolist(),
             best_on_average=rng.random(4).tolist())
        for i, row in enumerate(rows)
    ]  # fmt: skip
    found = ways(judge_selectors(cases))
    assert found["right"].score == pytest.approx(found["oracle"].score)
    assert found["right"].regret == {1: 0, 3: 0}
    assert found["right"].ndcg == pytest.approx(1)
    for way in found.values():
        assert way.name == "backbone alone" or way.score <= found["oracle"].score + 1e-9
        if way.regret is not None:
            assert way.regret[3] <= way.regret[1]
            assert 1 <= way.median_rank <= 4  # type: ignore[operator]
