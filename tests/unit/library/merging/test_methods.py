"""Every merge against its formula, worked out by hand or by the plainest code."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from multigraft.errors import UserError
from multigraft.library.merging.base import Held, Tensors, merged_tensor, parse_merge
from multigraft.library.merging.ties import kth_largest

A, B, C = (torch.randn(6, 5, generator=torch.Generator().manual_seed(seed)) for seed in range(3))


def run(name: str, *values: Tensor, weights: Sequence[float] | None = None,
        statistics: Sequence[Tensor] | None = None, **settings: object) -> Tensor:  # fmt: skip
    merge = parse_merge(name, settings)
    leaves = tuple(map(Held, values))
    known = None if statistics is None else tuple(map(Held, statistics))
    return merged_tensor(merge, Tensors("w", leaves, merge.weigh(weights, len(values), None), statistics=known))


def test_sums() -> None:
    torch.testing.assert_close(run("uniform", A, B, C), (A + B + C) / 3)
    torch.testing.assert_close(run("weighted", A, B, weights=[3.0, 1.0]), (3 * A + B) / 4)
    torch.testing.assert_close(run("weighted", A, B, weights=[1e308, 1e308]), (A + B) / 2)
    torch.testing.assert_close(run("task_arithmetic", A, B, scale=0.3), 0.3 * (A + B))
    torch.testing.assert_close(run("task_arithmetic", A, B, scale=0.5, weights=[1, -2]), 0.5 * A - B)


def test_ties_by_hand() -> None:
    a = torch.tensor([4.0, -3.0, 1.0, 0.1, 2.0])
    b = torch.tensor([-1.0, -5.0, 2.0, 0.0, -3.0])
    # Of five, three are kept: a -> 4 -3 . . 2, b -> . -5 2 . -3; signs + - + . -
    expected = torch.tensor([4.0, -4.0, 2.0, 0.0, -3.0])
    torch.testing.assert_close(run("ties", a, b, keep=0.6), expected)
    torch.testing.assert_close(run("ties", a, b, keep=0.6, scale=0.5), expected / 2)
    # 3 * 2 outweighs 1 * 3: the last entry becomes positive; the second is (-9 - 5) / 4.
    expected = torch.tensor([4.0, -3.5, 2.0, 0.0, 2.0])
    torch.testing.assert_close(run("ties", a, b, keep=0.6, weights=[3, 1]), expected)
    torch.testing.assert_close(run("ties", torch.tensor([1.0]), torch.tensor([-1.0]), keep=1), torch.zeros(1))


@given(st.lists(st.floats(0, 2.0**100, width=32), min_size=1, max_size=40), st.data())
def test_the_kth_largest_is_that_of_a_sorted_list(numbers: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(numbers)))
    blocks = torch.tensor(numbers).split(7)
    assert kth_largest(lambda: blocks, k) == sorted(numbers, reverse=True)[k - 1]


@pytest.mark.parametrize("then", ["linear", "ties"])
def test_dare_drops_and_rescales(then: str) -> None:
    ones = torch.ones(200, 100)
    found = run("dare", ones, torch.zeros_like(ones), drop=0.75, then=then)
    kept = found > 0
    assert torch.equal(found[kept], torch.full_like(found[kept], 4.0))
    assert abs(kept.float().mean().item() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / ones.numel())
    assert torch.equal(run("dare", A, B, drop=0.5, seed=1), run("dare", A, B, drop=0.5, seed=1))
    assert not torch.equal(run("dare", A, B, drop=0.5, seed=1), run("dare", A, B, drop=0.5, seed=2))
    torch.testing.assert_close(run("dare", A, B, drop=0, then="linear"), A + B)
    torch.testing.assert_close(run("dare", A, B, drop=0, then="ties"), run("ties", A, B, keep=1))


def test_models_lose_different_entries_in_dare() -> None:
    ones = torch.ones(1000)
    found = run("dare", ones, -ones, drop=0.5)
    assert 300 < int((found != 0).sum()) < 700


def test_slerp_keeps_to_the_arc() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    for t in (0.0, 0.25, 1.0):
        angle = t * math.pi / 2
        torch.testing.assert_close(run("slerp", a, b, t=t), torch.tensor([math.cos(angle), math.sin(angle)]))
    torch.testing.assert_close(run("slerp", a, 3 * a, t=0.5), 2 * a)  # no angle: a line
    torch.testing.assert_close(run("slerp", a, -a, t=0.25), 0.5 * a)
    torch.testing.assert_close(run("slerp", a, torch.zeros(2), t=0.25), 0.75 * a)


def test_fisher_is_a_mean_by_information() -> None:
    one, two = A.square() + 0.1, B.square() + 0.1
    torch.testing.assert_close(run("fisher", A, B, statistics=[one, two]), (one * A + two * B) / (one + two))
    weighed = run("fisher", A, B, statistics=[one, two], weights=[2, 1])
    torch.testing.assert_close(weighed, (2 * one * A + two * B) / (2 * one + two))
    nothing = torch.zeros_like(A)
    torch.testing.assert_close(run("fisher", A, B, statistics=[nothing, nothing]), (A + B) / 2)


def test_regmean_answers_as_each_model_does_on_its_inputs() -> None:
    inputs = [torch.randn(40, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    grams = [(x.T @ x) for x in inputs]
    maps = [A.double(), B.double()]
    # The least squares fit of one map to both models' answers.
    fit = torch.linalg.lstsq(torch.cat(inputs), torch.cat([x @ w.T for x, w in zip(inputs, maps)])).solution.T
    torch.testing.assert_close(run("regmean", *maps, statistics=grams, shrink=1), fit)
    assert not torch.allclose(run("regmean", *maps, statistics=grams), fit)
    first, second = (gram[0, 0] for gram in grams)
    alone = (first * maps[0][:, 0] + second * maps[1][:, 0]) / (first + second)
    torch.testing.assert_close(run("regmean", *maps, statistics=grams, shrink=0)[:, 0], alone)
    # An input that never varies says nothing: there the mean stays.
    for gram in grams:
        gram[0], gram[:, 0] = 0, 0
    found = run("regmean", *maps, statistics=grams)
    torch.testing.assert_close(found[:, 0], (maps[0] + maps[1])[:, 0] / 2)
    torch.testing.assert_close(run("regmean", A, B, weights=[3, 1]), (3 * A + B) / 4)


def test_statistics_that_do_not_fit_are_named() -> None:
    fisher, regmean = parse_merge("fisher"), parse_merge("regmean")
    with pytest.raises(UserError, match="statistics 2: the Fisher information of 'w' is missing"):
        fisher.check_tensor("w", (2, 3), [(2, 3), None])
    with pytest.raises(UserError, match="statistics 1: the Gram matrix of 'w' is of shape"):
        regmean.check_tensor("w", (2, 3), [(2, 2), (3, 3)])
    with pytest.raises(UserError, match="this is no linear map"):
        regmean.check_tensor("b", (3,), [(3, 3), (3, 3)])
    regmean.check_tensor("b", (3,), [None, None])


def test_a_soup_takes_only_what_helps() -> None:
    goal = np.array([0.5, 0.0, 0.5])
    asked = []

    def score(weights: tuple[float, ...]) -> float:
        asked.append(weights)
        return -float(np.abs(weights - goal).sum())

    assert parse_merge("soup").weigh(None, 3, score) == (0.5, 0.0, 0.5)
    assert len(asked) == 5
    assert parse_merge("soup").weigh(None, 3, lambda weights: weights[1]) == (0.0, 1.0, 0.0)


def test_lorahub_finds_weights_within_its_limits() -> None:
    goal, asked = np.array([0.7, -0.4, 1.2, 0.1]), []

    def score(weights: tuple[float, ...]) -> float:
        asked.append(weights)
        return -float(np.square(weights - goal).sum())

    found = parse_merge("lorahub", {"penalty": 0.0}).weigh(None, 4, score)
    assert len(asked) <= 40
    assert np.abs(np.array(asked)).max() <= 1.5
    np.testing.assert_allclose(found, goal, atol=0.1)
    assert score(found) == max(map(score, list(asked)))
    far = parse_merge("lorahub", {"penalty": 0.0, "limit": 0.5}).weigh(None, 4, score)
    assert max(map(abs, far)) <= 0.5
    assert parse_merge("lorahub").weigh(None, 3, lambda weights: 0.0) == (
        0.0,
        0.0,
        0.0,
    )  # size costs, and gains nothing
    with pytest.raises(UserError, match="set trials to 6 or more"):
        parse_merge("lorahub", {"trials": 5}).weigh(None, 4, score)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("weighted", [1.0], "1 weights for 2 models"),
        ("weighted", [1.0, -1.0], "at least 0"),
        ("ties", [0.0, 0.0], "not all 0"),
        ("task_arithmetic", [1.0, math.nan], "no finite number"),
    ],
)
def test_bad_weights(name: str, weights: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_merge(name).check(2, weights=weights, base=True, statistics=None, score=False)


def test_bad_names_and_settings() -> None:
    with pytest.raises(UserError, match="did you mean 'ties'"):
        parse_merge("tie")
    with pytest.raises(UserError, match="did you mean 'keep'"):
        parse_merge("ties", {"kep": 0.2})
    with pytest.raises(UserError, match="greater than 0"):
        parse_merge("ties", {"keep": 0})
