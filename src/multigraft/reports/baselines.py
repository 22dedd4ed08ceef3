"""The trivial baselines as far as they are known: texts have none, and none is learned without training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from multigraft.reports.figures import finite
from multigraft.strategies.results import TaskSummary

BASELINES: dict[str, Callable[[TaskSummary], float | None]] = {
    "chance": lambda task: task.chance,
    "majority": lambda task: task.majority,
    "bag of words": lambda task: task.bag_of_words,
}


def known(tasks: Sequence[TaskSummary], name: str) -> dict[str, float]:
    """The scores of the baseline `name`, in per cent, by task, of the tasks that have one."""
    found = {task.name: BASELINES[name](task) for task in tasks}
    return {task: value for task, value in found.items() if finite(value)}


def average(tasks: Sequence[TaskSummary], name: str) -> float | None:
    """The mean of the baseline `name` over `tasks`, in per cent; None unless every one of them has it."""
    values = known(tasks, name).values()
    return sum(values) / len(values) if values and len(values) == len(tasks) else None
