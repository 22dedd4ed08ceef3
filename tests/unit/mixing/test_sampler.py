"""The sampler: who is drawn, how often, in which order, and the same again after a restart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from typing import ClassVar, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from multigraft.errors import UserError
from multigraft.mixing.sampler import Draw, Mode, Sampler
from multigraft.mixing.schedule import SCHEDULES, Schedule, parse

MODES: tuple[Mode, ...] = get_args(Mode)
SIZES = {"large": 700, "middle": 90, "small": 7, "single": 1}
names = st.sampled_from(SCHEDULES.names())


def lengths_of(size: int) -> list[int]:
    return [3 + (row * 37) % 60 for row in range(size)]


def sampler(
    schedule: str | Schedule = "proportional",
    mode: Mode = "one_task",
    sizes: dict[str, int] = SIZES,
    batch_size: int = 4,
    steps: int = 100,
    epochs: int = 5,
    seed: int = 0,
) -> Sampler:
    rule = parse(schedule) if isinstance(schedule, str) else schedule
    lengths = {name: lengths_of(size) for name, size in sizes.items()}
    return Sampler(sizes, lengths, rule, batch_size, steps, epochs, mode, seed)


def columns(draws: Sequence[Draw]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([draw.tasks for draw in draws]), np.concatenate([draw.rows for draw in draws])


def plain(draws: Sequence[Draw]) -> list[object]:
    return [(draw.tasks.tolist(), draw.rows.tolist(), draw.epoch) for draw in draws]


@pytest.mark.parametrize("mode", MODES)
@given(schedule=names, batch_size=st.integers(1, 9), steps=st.integers(1, 60), epochs=st.integers(1, 8))
@settings(max_examples=40)
def test_counts_add_up_and_passes_are_exact(
    mode: Mode, schedule: str, batch_size: int, steps: int, epochs: int
) -> None:
    run = sampler(schedule, mode, batch_size=batch_size, steps=steps, epochs=epochs)
    draws = list(run)
    per_step = batch_size * (len(SIZES) if mode == "parallel" else 1)
    assert len(draws) == len(run) == steps
    assert all(len(draw.tasks) == len(draw.rows) == per_step for draw in draws)
    tasks, rows = columns(draws)
    for task, size in enumerate(SIZES.values()):
        counts = np.bincount(rows[tasks == task], minlength=size)
        assert len(counts) == size
        assert counts.max() - counts.min() <= 1  # so every row k times, or k + 1 in a pass that was begun
    assert run.planned().sum() == pytest.approx(steps * per_step)
    assert [draw.epoch for draw in draws] == sorted(draw.epoch for draw in draws)
    assert max(draw.epoch for draw in draws) == epochs


@pytest.mark.parametrize("mode", MODES)
@given(schedule=names, steps=st.integers(1, 40), epochs=st.integers(1, 6), data=st.data())
@settings(max_examples=40)
def test_resumed_is_uninterrupted(mode: Mode, schedule: str, steps: int, epochs: int, data: st.DataObject) -> None:
    whole = plain(list(sampler(schedule, mode, steps=steps, epochs=epochs)))
    cut = data.draw(st.integers(0, steps))
    first = sampler(schedule, mode, steps=steps, epochs=epochs)
    before = list(islice(first, cut))
    state = json.loads(json.dumps(first.state(), sort_keys=True))
    second = sampler(schedule, mode, steps=steps, epochs=epochs)
    second.restore(state)
    assert plain(before) + plain(list(second)) == whole


@pytest.mark.parametrize("mode", MODES)
def test_seeds(mode: Mode) -> None:
    assert plain(list(sampler(mode=mode, seed=3))) == plain(list(sampler(mode=mode, seed=3)))
    assert plain(list(sampler(mode=mode, seed=3))) != plain(list(sampler(mode=mode, seed=4)))


@pytest.mark.parametrize("schedule", SCHEDULES.names())
@pytest.mark.parametrize("mode", ["one_task", "mixed"])
def test_draws_stay_within_binomial_bounds_and_no_task_starves(schedule: str, mode: Mode) -> None:
    run = sampler(schedule, mode, sizes={"a": 4000, "b": 900, "c": 300}, batch_size=2, steps=4000, epochs=4)
    tasks = np.stack([draw.tasks for draw in run])
    trials = tasks[:, 0] if mode == "one_task" else tasks.ravel()
    shares = run.planned().sum(0) / run.planned().sum()
    for task, share in enumerate(shares):
        low, high = binom.interval(1 - 1e-6, len(trials), share)
        assert 0 < low <= (trials == task).sum() <= high


@pytest.mark.parametrize("mode", ["one_task", "mixed"])
def test_round_robin_draws_exactly_equally(mode: Mode) -> None:
    # 7 steps to a window, so that turns go on from one window to the next.
    tasks, _ = columns(list(sampler("round_robin", mode, steps=28, epochs=4)))
    assert np.bincount(tasks).tolist() == [28] * 4
    if mode == "one_task":
        assert tasks[::4].tolist() == [0, 1, 2, 3] * 7


def test_every_window_draws_its_tasks_anew() -> None:
    tasks, _ = columns(list(sampler("square_root", batch_size=1, steps=100, epochs=2)))
    assert tasks[:50].tolist() != tasks[50:].tolist()


def test_one_task_to_a_step() -> None:
    assert all(np.ptp(draw.tasks) == 0 for draw in sampler())
    assert any(np.ptp(draw.tasks) > 0 for draw in sampler(mode="mixed"))


class Only(Schedule):
    """All rows from the first task."""

    name: ClassVar[str] = "only"

    def shares(self, sizes: Sequence[int], epoch: int, epochs: int, total_rows: int) -> list[float]:
        """1 for the first."""
        return [1.0] + [0.0] * (len(sizes) - 1)


@pytest.mark.parametrize("mode", ["one_task", "mixed"])
def test_a_share_of_zero_is_never_drawn(mode: Mode) -> None:
    tasks, _ = columns(list(sampler(Only(), mode)))
    assert not tasks.any()


def test_together_is_apart() -> None:
    """In `parallel`, a task gets the same batches with any others, alone, and as the one task of a run."""
    together = sampler(mode="parallel", steps=30, epochs=3)
    rows = np.stack([draw.rows.reshape(4, -1) for draw in together], axis=1)
    tasks = np.stack([draw.tasks.reshape(4, -1) for draw in sampler(mode="parallel", steps=30)], axis=1)
    assert (tasks == np.arange(4)[:, None, None]).all()
    for task, (name, size) in enumerate(SIZES.items()):
        for mode, epochs in (("parallel", 3), ("one_task", 7)):
            alone = sampler("annealed", mode, sizes={name: size}, steps=30, epochs=epochs)
            np.testing.assert_array_equal(np.stack([draw.rows for draw in alone]), rows[task])


def test_one_task_batches_do_not_depend_on_the_other_tasks() -> None:
    draws = [draw for draw in sampler("round_robin", steps=40, epochs=2) if draw.tasks[0] == 1]
    alone = list(sampler(sizes={"middle": SIZES["middle"]}, steps=10, epochs=1))
    assert [draw.rows.tolist() for draw in draws] == [draw.rows.tolist() for draw in alone]


@pytest.mark.parametrize("mode", MODES)
def test_batches_hold_like_lengths(mode: Mode) -> None:
    sizes = {"a": 2000, "b": 1500}
    lengths = [np.array(lengths_of(size)) for size in sizes.values()]
    positions = tokens = 0
    for draw in sampler("proportional", mode, sizes=sizes, batch_size=16, steps=200):
        for task in np.unique(draw.tasks) if mode == "parallel" else [slice(None)]:
            mine = draw.tasks == task if mode == "parallel" else task
            values = [lengths[t][r] for t, r in zip(draw.tasks[mine], draw.rows[mine], strict=True)]
            tokens, positions = tokens + sum(values), positions + max(values) * len(values)
    assert 1 - tokens / positions < 0.05


def test_planned_rows_follow_the_schedule() -> None:
    planned = sampler("annealed", sizes={"a": 100, "b": 1}, steps=10, epochs=2).planned()
    assert planned.sum(1).tolist() == pytest.approx([20, 20])
    assert (planned[:, 0] / planned[:, 1]).tolist() == pytest.approx([100, 100**0.2])


def test_more_epochs_than_steps() -> None:
    draws = list(sampler("annealed", steps=2, epochs=5))
    assert len(draws) == 2


class Broken(Only):
    """Shares that do not sum to 1."""

    name: ClassVar[str] = "broken"

    def shares(self, sizes: Sequence[int], epoch: int, epochs: int, total_rows: int) -> list[float]:
        """Half of what is needed."""
        return [0.5] + [0.0] * (len(sizes) - 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "paralel"}, "unknown sampling mode 'paralel'; did you mean 'parallel'?"),
        ({"sizes": {"a": 3, "empty": 0}}, "task 'empty' has no training rows"),
        ({"sizes": {}}, "there is no task to train on"),
        ({"steps": 0}, "the number of steps is 0; give at least 1"),
        ({"schedule": Broken()}, "schedule 'broken' gave [0.5, 0.0, 0.0, 0.0] for 4 tasks; shares must be"),
    ],
)
def test_wrong_arguments_are_one_clear_line(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as error:
        list(sampler(**arguments))  # type: ignore[arg-type]
    assert message in str(error.value)


def test_resuming_with_other_tasks_is_refused() -> None:
    run = sampler()
    with pytest.raises(UserError, match="trained on a, b, this one trains on large"):
        run.restore({"step": 1, "drawn": {"a": 4, "b": 0}})
