"""What sharing does to each task, and from which others it learns."""

from __future__ import annotations

from typing import NamedTuple

from multigraft.reports import figures
from multigraft.reports.figures import listing
from multigraft.reports.verdicts import Finding, names, verdict
from multigraft.strategies.results import Results, TaskDifference

MARKS = {"higher": " ▲", "lower": " ▼"}


class Table(NamedTuple):
    """Headings and rows of text; no rows where there is nothing to say."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def changes(results: Results) -> Table:
    """Tasks by ways: the points that sharing adds."""
    name, found = names(results), {(one.task, one.a): one for one in results.by_task}
    ways = list(dict.fromkeys((one.a, one.b) for one in results.by_task))
    head = ("task", *(f"{name[a]}, against {name[b]}" for a, b in ways))
    rows = [(task.name, *(_cell(found.get((task.name, a))) for a, _ in ways)) for task in results.tasks if ways]
    return Table(head, rows)


def _cell(found: TaskDifference | None) -> str:
    if found is None or not figures.finite(found.difference):
        return figures.NONE
    return figures.signed(found.difference) + MARKS.get(verdict(found), "")


def sources(results: Results) -> Table:
    """Tasks by ways: what was chosen to learn from."""
    name = names(results)
    rows = [row for row in results.rows if row.learned_from]
    lines = [
        (task.name, *(", ".join(row.learned_from.get(task.name, ())) or figures.NONE for row in rows))
        for task in results.tasks
        if rows
    ]
    return Table(("task", *(name[row.id] for row in rows)), lines)


def finding(results: Results) -> Finding | None:
    """Which tasks gain by sharing, and which lose."""
    if not results.by_task:
        return None
    gains, losses = _told(results, "higher"), _told(results, "lower")
    text = " ".join(
        f"{what}: {listing(list(found.values()))}." for what, found in (("Gain", gains), ("Lose", losses)) if found
    )
    tested = len(results.by_task)
    text += f" Each task was held against the way in which it has only its own rows, {tested} times in all."
    if not gains and not losses:
        return Finding("Which tasks gain, which lose", "no single task differs significantly", text.strip())
    both = sorted(gains.keys() & losses.keys())
    if both:
        text += f" It depends on the way for {listing(both)}."
    answer = f"{len(gains)} of {len(results.tasks)} tasks gain in some way of sharing, {len(losses)} lose"
    return Finding("Which tasks gain, which lose", answer, text.strip())


def _told(results: Results, side: str) -> dict[str, str]:
    """By task, the largest significant change on a side."""
    largest: dict[str, TaskDifference] = {}
    for one in results.by_task:
        before = largest.get(one.task)
        if verdict(one) == side and (before is None or abs(one.difference) > abs(before.difference)):
            largest[one.task] = one
    name = names(results)
    return {task: f"{task} {figures.signed(one.difference)} ({name[one.a]})" for task, one in largest.items()}
