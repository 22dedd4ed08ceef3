"""Schedules: the shares of every one of them, and how they are written in a recipe."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.errors import UserError
from multigraft.mixing.schedule import SCHEDULES, parse

# The eight tasks of arXiv 1902.02671: MNLI, QQP, QNLI (its first release), SST-2, CoLA, STS-B, MRPC, RTE.
GLUE = [392_702, 363_849, 108_436, 67_349, 8_551, 5_749, 3_668, 2_490]
PERCENT = {  # by alpha: to a tenth, then to a hundredth
    1.0: ([41.2, 38.2, 11.4, 7.1], [0.90, 0.60, 0.38, 0.26]),
    0.5: ([29.9, 28.8, 15.7, 12.4, 4.4, 3.6, 2.9, 2.4], []),
    0.2: ([19.6, 19.3, 15.1, 13.8, 9.1, 8.4, 7.7, 7.1], []),
}
ROWS = 60_000 * 32


@pytest.mark.parametrize(
    ("schedule", "epoch", "alpha"),
    [
        ("proportional", 1, 1.0),
        ("proportional", 25, 1.0),
        ("square_root", 1, 0.5),
        ("square_root", 25, 0.5),
        ("annealed", 1, 1.0),
        ("annealed", 25, 0.2),
        ({"name": "annealed", "end": 0}, 13, 0.5),
        ({"name": "temperature", "temperature": 5}, 1, 0.2),
    ],
)
def test_percentages_of_the_paper(schedule: object, epoch: int, alpha: float) -> None:
    percent = [100 * share for share in parse(schedule).shares(GLUE, epoch, 25, ROWS)]
    tenths, hundredths = PERCENT[alpha]
    # Half a unit of the last digit, and a hair: SST-2 with alpha 0.2 is 13.7495, and stands there as 13.8.
    assert percent[: len(tenths)] == pytest.approx(tenths, abs=0.0505)
    assert percent[len(tenths) :] == pytest.approx(hundredths, abs=0.00505)


def test_annealing_with_one_epoch_is_proportional() -> None:
    assert parse("annealed").shares(GLUE, 1, 1, ROWS) == parse("proportional").shares(GLUE, 1, 1, ROWS)


def test_annealing_is_linear_in_the_exponent() -> None:
    annealed = parse("annealed")
    ratios = [annealed.shares([100, 1], epoch, 5, 1) for epoch in range(1, 6)]
    assert [a / b for a, b in ratios] == pytest.approx([100**alpha for alpha in (1, 0.8, 0.6, 0.4, 0.2)])


def test_round_robin_is_equal_and_in_turn() -> None:
    schedule = parse("round_robin")
    assert schedule.in_turn
    assert schedule.shares(GLUE, 1, 1, ROWS) == [1 / 8] * 8


def test_cap_makes_larger_tasks_count_as_if_they_had_that_size() -> None:
    shares = parse({"name": "temperature", "temperature": 1, "cap": 100}).shares([1000, 100, 50], 1, 1, 1)
    assert shares == pytest.approx([0.4, 0.4, 0.2])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (30, [10, 10, 10]),  # no cap is reached
        (90, [10, 30, 50]),  # by hand: 10 of 30 taken, (90 - 10) / 2 > 30, the rest
        (60, [10, 25, 25]),
        (100_000, [10, 30, 1000]),  # more than all the caps: proportional
    ],
)
def test_unimax_shares_the_budget_below_the_caps(rows: int, expected: list[int]) -> None:
    shares = parse({"name": "unimax", "max_passes": 2}).shares([5, 15, 500], 1, 1, rows)
    assert shares == pytest.approx([rows_of / sum(expected) for rows_of in expected])


def test_unimax_is_the_same_in_any_order() -> None:
    unimax = parse("unimax")
    assert unimax.shares([500, 5, 15], 1, 1, 900) == pytest.approx(
        [unimax.shares([5, 15, 500], 1, 1, 900)[i] for i in (2, 0, 1)]
    )


sizes = st.lists(st.integers(1, 10**7), min_size=1, max_size=12)


@pytest.mark.parametrize("name", SCHEDULES.names())
@given(sizes=sizes, epochs=st.integers(1, 30), data=st.data())
def test_every_schedule_gives_every_task_a_share(name: str, sizes: list[int], epochs: int, data: st.DataObject) -> None:
    shares = parse(name).shares(sizes, data.draw(st.integers(1, epochs)), epochs, data.draw(st.integers(1, 10**9)))
    assert len(shares) == len(sizes)
    assert min(shares) > 0
    assert sum(shares) == pytest.approx(1)
    # A larger task never gets less.
    ordered = [share for _, share in sorted(zip(sizes, shares, strict=True))]
    assert all(small <= large * (1 + 1e-9) for small, large in pairwise(ordered))


def test_schedules_are_found_by_their_names() -> None:
    assert {"annealed", "proportional", "round_robin", "square_root", "temperature", "unimax"} <= set(SCHEDULES.names())
    assert all(parse(name).name == name for name in SCHEDULES.names())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("aneal", "recipe.yaml: unknown schedule 'aneal'; did you mean 'annealed'?"),
        ({"name": "temperature", "temprature": 2}, "unknown key 'temprature'; did you mean 'temperature'?"),
        ({"name": "temperature", "temperature": 0}, "'temperature': Input should be greater than 0"),
        ({"temperature": 2}, "not a schedule: {'temperature': 2}; give one of annealed,"),
        (3, "not a schedule: 3;"),
    ],
)
def test_a_wrong_schedule_is_one_clear_line(value: object, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse(value, where="recipe.yaml")
    assert message in str(error.value)
    assert str(error.value).startswith("recipe.yaml: ")
    assert "\n" not in str(error.value)
