from __future__ import annotations

from collections.abc import Callable

import pytest

from multigraft.reports.verdicts import Finding
from multigraft.reports.zero_shot import against_guessing, against_untuned
from multigraft.strategies.results import Estimate, Results

Example = Callable[..., Results]


def tuning(results: Results) -> Finding:
    found = against_untuned(results)
    assert found is not None
    return found


def with_clusters(results: Results, untuned: tuple, tuned: tuple) -> Results:
    """The record with other intervals on nli: those of the untuned model, and of all tuned ones."""

    def changed(bounds: tuple | None) -> dict[str, Estimate]:
        middle = sum(bounds) / 2 if bounds else 40.0
        return {"nli": Estimate(values=(middle,), mean=middle, stderr=None, interval=bounds)}

    rows = tuple(
        row.model_copy(update={"by_cluster": changed(untuned if row.strategy == "untuned" else tuned)})
        for row in results.rows
    )
    return results.model_copy(update={"rows": rows})


def test_tuned_ways_are_held_against_the_first_untuned_one(instructed: Example) -> None:
    found = tuning(instructed())
    assert found.answer == "3 significantly above, 2 significantly below, 2 not significantly different"
    assert found.text.startswith("The average of untuned is ")
    assert "4 shots" not in found.text


def test_it_needs_an_untuned_and_a_tuned_way(example: Example, instructed: Example) -> None:
    results = instructed()
    assert against_untuned(example()) is None
    assert against_untuned(results.model_copy(update={"rows": results.rows[:2]})) is None
    assert against_guessing(example()) is None


def test_without_paired_intervals_nothing_is_called_significant(instructed: Example) -> None:
    found = tuning(instructed().model_copy(update={"differences": ()}))
    assert found.answer == "7 not compared"
    assert "ignificant" not in found.text


@pytest.mark.parametrize(
    ("untuned", "tuned", "said"),
    [
        ((30.0, 34.0), (35.0, 39.0), "up: nli (+5.0)."),
        ((35.0, 39.0), (30.0, 34.0), "down: nli (−5.0)."),
        ((30.0, 34.0), (34.0, 38.0), "no difference shown, as the two intervals overlap: nli (+4.0)."),
        ((34.0, 38.0), (30.0, 34.0), "no difference shown, as the two intervals overlap: nli (−4.0)."),
        (None, (30.0, 34.0), "without intervals to judge by: nli (−8.0)."),
    ],
)
def test_a_cluster_gains_or_loses_only_where_intervals_lie_apart(
    instructed: Example, untuned: tuple, tuned: tuple, said: str
) -> None:
    text = tuning(with_clusters(instructed(), untuned, tuned)).text
    assert text.endswith(f"By held-out cluster, all clusters – {said}")


def test_chance_is_compared_on_average_where_every_task_has_it(instructed: Example) -> None:
    results = instructed(tasks=6)
    chance = sum(task.chance or 0 for task in results.tasks) / 6
    rows = [row for row in results.rows if row.average.interval]
    above = [row for row in rows if row.average.interval and row.average.interval[0] > chance]
    found = against_guessing(results)
    assert found
    assert 0 < len(above) < len(rows)
    assert found.answer.startswith(f"above chance: {len(above)} of 9; above the majority: ")
    assert "Chance averages 41.1: not shown to be above it on average:" in found.text


def test_with_texts_it_is_compared_task_by_task(instructed: Example) -> None:
    results = instructed()
    strong = tuple(task.model_copy(update={"chance": 99.0} if task.name == "rte" else {}) for task in results.tasks)
    found = against_guessing(results.model_copy(update={"tasks": strong}))
    assert found
    assert "of the 7 tasks that have it; some way above the majority on" in found.answer
    assert "Chance: no way is shown to be above it on rte" in found.text
