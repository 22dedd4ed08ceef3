"""Scores by held-out cluster, as data for the tables and plots that show them."""

from __future__ import annotations

from multigraft.reports import baselines
from multigraft.reports.board import Board, Column, Line, baseline, caption, embolden, line_note, ordered, scored
from multigraft.reports.figures import finite
from multigraft.reports.verdicts import names
from multigraft.strategies.results import Results, Row, TaskSummary

GUESSES = ("chance", "majority")  # the baselines that see none of a held-out task's texts


def clusters(results: Results) -> list[str]:
    """The held-out clusters that any row was measured on, in the order of the record."""
    return list(dict.fromkeys(cluster for row in results.rows for cluster in row.by_cluster))


def tasks_in(results: Results, cluster: str) -> list[TaskSummary]:
    """The tasks of a cluster; a task may belong to several."""
    return [task for task in results.tasks if cluster in task.cluster.split(", ")]


def cluster_board(results: Results) -> Board | None:
    """The scoreboard by held-out cluster; None where no row was measured by cluster."""
    columns = tuple(_column(results, cluster) for cluster in clusters(results))
    if not columns:
        return None
    rows = [row for row in ordered(results) if row.by_cluster]
    lines = [_line(results, row) for row in rows]
    for column in columns if len(lines) > 1 else ():
        lines = embolden(lines, column)
    averages = {
        name: {f"cluster:{one}": baselines.average(tasks_in(results, one), name) for one in clusters(results)}
        for name in GUESSES
    }
    guesses = tuple(baseline(name, values) for name, values in averages.items() if any(map(finite, values.values())))
    return Board(columns, guesses, tuple(lines), caption(rows, lines))


def _column(results: Results, cluster: str) -> Column:
    count = len(tasks_in(results, cluster))
    return Column(f"cluster:{cluster}", cluster, f"{count} task{'s' if count != 1 else ''}", more=True)


def _line(results: Results, row: Row) -> Line:
    cells = {f"cluster:{cluster}": scored(value) for cluster, value in row.by_cluster.items()}
    return Line(names(results)[row.id], row.label, line_note(row), row.strategy, cells)


def series(results: Results) -> dict[str, list[Row]]:
    """Rows by series, by the number of clusters they were trained on; series with two numbers at least."""
    found: dict[str, list[Row]] = {}
    for row in sorted(results.rows, key=lambda row: row.tuning_clusters or 0):
        if row.series is not None and row.tuning_clusters is not None and finite(row.average.mean):
            found.setdefault(row.series, []).append(row)
    return {name: rows for name, rows in found.items() if rows[0].tuning_clusters != rows[-1].tuning_clusters}
