from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.errors import UserError
from multigraft.settings import build
from multigraft.training.settings import TrainingSettings, learning_rate_factor


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "either 'steps' or 'passes'"),
        ({"steps": 5, "passes": 1.0}, "either 'steps' or 'passes'"),
        ({"steps": 0}, "steps"),
        ({"steps": 5, "warmup": 1.0}, "warmup"),
        ({"steps": 5, "clip": 0}, "clip"),
        ({"steps": 5, "optimizer": "sgd"}, "optimizer"),
        ({"steps": 5, "batches": "some"}, "batches"),
        ({"steps": 5, "batchsize": 3}, "did you mean 'batch_size'?"),
    ],
)
def test_contradictions_are_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match="recipe") as error:
        build(TrainingSettings, values, "recipe.yaml")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_run_is_as_long_as_it_says() -> None:
    assert TrainingSettings(steps=7).steps_for(1000, 3) == 7
    assert TrainingSettings(passes=2, batch_size=8).steps_for(100, 3) == 25
    assert TrainingSettings(passes=0.01, batch_size=8).steps_for(100, 3) == 1


def test_a_parallel_step_has_rows_of_every_task() -> None:
    settings = TrainingSettings(passes=3, batch_size=4, batches="parallel")
    assert settings.rows_in_step(5) == 20
    assert settings.steps_for(200, 5) == 30  # 30 steps of 20 rows are 3 passes over 200


def test_the_learning_rate_rises_and_falls_in_straight_lines() -> None:
    settings = TrainingSettings(steps=10, warmup=0.2)
    factors = [learning_rate_factor(step, 10, settings) for step in range(10)]
    assert factors == pytest.approx([1 / 2, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def test_without_warm_up_and_decay_it_stays() -> None:
    settings = TrainingSettings(steps=10, warmup=0, decay="constant")
    assert {learning_rate_factor(step, 10, settings) for step in range(10)} == {1.0}


@given(st.integers(1, 300), st.floats(0, 0.99), st.sampled_from(["linear", "constant"]))
def test_it_is_a_share_and_never_nothing(steps: int, warmup: float, decay: Any) -> None:
    settings = TrainingSettings(steps=steps, warmup=warmup, decay=decay)
    factors = [learning_rate_factor(step, steps, settings) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    assert max(factors) == 1 or steps * warmup > steps - 1
