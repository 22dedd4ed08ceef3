"""How much the wording of a task matters: scores by template."""

from __future__ import annotations

from multigraft.reports import figures
from multigraft.reports.board import ordered
from multigraft.reports.figures import finite
from multigraft.reports.verdicts import Finding, names
from multigraft.strategies.results import Results, Row, Wordings

HEAD = ("task", "templates", "lower quartile", "median", "upper quartile", "best on dev", "every template, best first")


def wording_rows(row: Row) -> list[tuple[str, ...]]:
    """The scores of a row by task and template, as text in the order of `HEAD`."""
    return [
        (
            task,
            figures.number(len(found.by_template), 0),
            figures.number(found.lower_quartile),
            figures.number(found.median),
            figures.number(found.upper_quartile),
            figures.number(found.best),
            "; ".join(f"{name} {figures.number(score)}" for name, score in _sorted(found)),
        )
        for task, found in row.wordings.items()
    ]


def finding(results: Results) -> Finding | None:
    """How far the best and the worst template lie apart; None where no task was asked in two of them."""
    ranges = {row.id: found for row in ordered(results) if (found := _ranges(row))}
    if not ranges:
        return None
    name = names(results)
    means = {row: sum(found.values()) / len(found) for row, found in ranges.items()}
    row_id, task = max(
        ((row, task) for row, found in ranges.items() for task in found), key=lambda at: ranges[at[0]][at[1]]
    )
    by_template = _sorted(next(row for row in results.rows if row.id == row_id).wordings[task])
    overall = sum(means.values()) / len(means)
    (best, high), (worst, low) = by_template[0], by_template[-1]
    by_way = figures.listing([f"{name[row]} {figures.number(mean)}" for row, mean in means.items()])
    text = (
        f"By way, mean over tasks: {by_way}. "
        f"Widest: {figures.number(high - low)} points with {name[row_id]} on {task}, from {figures.number(low)} "
        f"({worst}) to {figures.number(high)} ({best}). Part of any such range is chance."
    )
    return Finding("Wordings", f"best and worst template lie {figures.number(overall)} points apart on average", text)


def _ranges(row: Row) -> dict[str, float]:
    """Best minus worst template by task, in per cent points, of tasks that were asked in two templates at least."""
    scores = {task: [score for _, score in _sorted(found)] for task, found in row.wordings.items()}
    return {task: values[0] - values[-1] for task, values in scores.items() if len(values) > 1}


def _sorted(found: Wordings) -> list[tuple[str, float]]:
    """Templates with their scores, the best first, those that have one."""
    known = [(name, score) for name, score in found.by_template.items() if finite(score)]
    return sorted(known, key=lambda pair: -pair[1])
