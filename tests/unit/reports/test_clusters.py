from __future__ import annotations

from collections.abc import Callable

import pytest

from multigraft.reports.clusters import cluster_board, clusters, series, tasks_in
from multigraft.strategies.results import Results

Example = Callable[..., Results]


def test_a_task_may_belong_to_several_clusters(instructed: Example) -> None:
    results = instructed()
    shared = results.tasks[3].model_copy(update={"cluster": "commonsense, nli"})
    results = results.model_copy(update={"tasks": (*results.tasks[:3], shared, *results.tasks[4:])})
    assert clusters(results) == ["nli", "commonsense", "closed_book_qa"]
    assert [task.name for task in tasks_in(results, "nli")] == ["rte", "cb", "mnli", "piqa"]
    assert len(tasks_in(results, "commonsense")) == 3


def test_guesses_are_means_over_the_tasks_of_a_cluster(example: Example, instructed: Example) -> None:
    assert cluster_board(example()) is None
    found = cluster_board(instructed())
    assert found
    chance, majority = found.baselines
    assert chance.cells["cluster:nli"].value == pytest.approx((50 + 30.1 + 33.3) / 3)
    assert majority.cells["cluster:commonsense"].value == pytest.approx((50.5 + 55 + 33.6) / 3)
    assert "cluster:closed_book_qa" not in chance.cells  # two of its tasks are answered in texts


def test_a_guess_of_zero_is_a_guess(instructed: Example) -> None:
    results = instructed(tasks=1)
    task = results.tasks[0].model_copy(update={"chance": 0.0, "majority": None})
    found = cluster_board(results.model_copy(update={"tasks": (task,)}))
    assert found
    assert [line.name for line in found.baselines] == ["chance"]


def test_a_series_has_rows_with_different_numbers_of_clusters(example: Example, instructed: Example) -> None:
    results = instructed()
    assert [row.id for row in series(results)["4b1d0e77aa"]] == ["one", "two", "four", "eight", "all"]
    assert list(series(results)) == ["4b1d0e77aa"]
    assert series(example()) == {}
    same = tuple(row.model_copy(update={"tuning_clusters": 4}) for row in results.rows)
    assert series(results.model_copy(update={"rows": same})) == {}
