"""The scoreboard as data: lines, columns and cells that the terminal, Markdown and HTML tables all print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from multigraft.reports import figures
from multigraft.reports.verdicts import below_best, names
from multigraft.strategies.results import Estimate, Results, Row

SHORT = {"accuracy": "acc", "matthews": "mcc", "pearson": "r", "spearman": "ρ", "f1": "F1", "macro_f1": "mF1"}
MANY = 10  # tasks
MARKS = {"same": "≈", "untested": "?", "lower": "", "higher": ""}


@dataclass(frozen=True)
class Column:
    """One figure of every way of sharing."""

    key: str
    title: str
    note: str  # metric or unit
    more: bool  # is more better
    task: bool = False


@dataclass(frozen=True)
class Cell:
    """A figure as shown; `value` is what it is sorted and compared by."""

    value: float | None = None
    text: str = figures.NONE
    spread: str = ""
    interval: str = ""
    mark: str = ""
    best: bool = False


@dataclass(frozen=True)
class Line:
    """A row of the scoreboard, its cells by column key."""

    name: str  # no other row has it
    label: str  # as in the record; with `note` it says the same as the name
    note: str
    group: str  # baseline | separate | shared | module
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Board:
    """The scoreboard: baselines first, then the ways of sharing in reading order."""

    columns: tuple[Column, ...]
    baselines: tuple[Line, ...]
    lines: tuple[Line, ...]
    caption: str


_COSTS: tuple[tuple[Column, Callable[[Row], float], Callable[[float | None], str]], ...] = (
    (Column("relative", "params", "of one", more=False), lambda row: row.relative, figures.times),
    (Column("train", "training", "time", more=False), lambda row: row.train_seconds, figures.duration),
    (Column("memory", "memory", "peak", more=False), lambda row: row.peak_memory_mb, figures.memory),
    (Column("answer", "answer", "ms", more=False), lambda row: row.answer_ms, figures.milliseconds),
)


def short_metric(metric: str) -> str:
    """The usual abbreviation of a metric, or its name where there is none."""
    return SHORT.get(metric.lower().replace("-", "_"), metric)


def ordered(results: Results) -> list[Row]:
    """Rows in reading order: separate models, the shared encoder, methods, then other schedules of these."""
    seen: set[tuple[str, str | None, bool]] = set()
    placed = []
    for row in results.rows:
        kind = (row.strategy, row.method, row.tuned)
        place = 3 if kind in seen else {"separate": 0, "shared": 1}.get(row.strategy, 2)
        seen.add(kind)
        placed.append((place, row))
    return [row for _, row in sorted(placed, key=lambda pair: pair[0])]


def board(results: Results) -> Board:
    """The scoreboard of `results`."""
    tasks = [Column(f"task:{t.name}", t.name, short_metric(t.metric), more=True, task=True) for t in results.tasks]
    overall = [Column("average", "average", "per cent", more=True), *(column for column, _, _ in _COSTS)]
    # With many tasks the figures that sum them up come first: at the end they would be out of sight.
    columns = (*tasks, *overall) if len(tasks) <= MANY else (*overall, *tasks)
    lines = [_line(results, row) for row in ordered(results)]
    if len(lines) > 1:
        for column in columns:
            lines = _embolden(lines, column)
    baselines = (
        _baseline(results, "majority", [task.majority for task in results.tasks]),
        _baseline(results, "bag of words", [task.bag_of_words for task in results.tasks]),
    )
    return Board(columns, baselines, tuple(lines), _caption(results, lines))


def _line(results: Results, row: Row) -> Line:
    cells = {f"task:{task}": _scored(value) for task, value in row.scores.items()}
    verdict = below_best(results, row)
    alone = len(results.rows) < 2
    cells["average"] = replace(_scored(row.average), mark="" if alone else MARKS[verdict])
    for column, value, wording in _COSTS:
        cells[column.key] = _plain(value(row), wording)
    note = ", ".join(part for part in (row.schedule, "tuned" if row.tuned else "frozen") if part)
    return Line(names(results)[row.id], row.label, note, row.strategy, cells)


def _plain(value: float, wording: Callable[[float | None], str] = figures.number) -> Cell:
    return Cell(value, wording(value)) if figures.finite(value) else Cell()


def _scored(value: Estimate) -> Cell:
    if not figures.finite(value.mean):
        return Cell()
    return Cell(value.mean, figures.number(value.mean), figures.spread(value), figures.interval(value.interval))


def _baseline(results: Results, name: str, scores: list[float]) -> Line:
    keys = [f"task:{task.name}" for task in results.tasks]
    cells = {key: _plain(score) for key, score in zip(keys, scores, strict=True)}
    if scores:
        cells["average"] = _plain(sum(scores) / len(scores))
    return Line(name, name, "baseline", "baseline", cells)


def _embolden(lines: list[Line], column: Column) -> list[Line]:
    # Cells that read the same as the best one are as good as anyone can see: all of them are marked.
    cells = [line.cells[column.key] for line in lines if column.key in line.cells]
    shown = [cell for cell in cells if cell.value is not None]
    if not shown:
        return lines
    top = (max if column.more else min)(shown, key=lambda cell: cell.value or 0.0).text
    return [
        replace(line, cells=line.cells | {column.key: replace(cell, best=True)})
        if (cell := line.cells.get(column.key)) and cell.text == top
        else line
        for line in lines
    ]


def _caption(results: Results, lines: list[Line]) -> str:
    parts = []
    marks = {line.cells["average"].mark for line in lines}
    if len(lines) > 1:
        parts.append("Bold: best of its column, baselines aside.")
    if "≈" in marks:
        parts.append("≈ best average, or not significantly different from it (95 % paired interval contains 0).")
    if "?" in marks:
        parts.append("? not compared with the best average.")
    seeds = sorted({len(row.seeds) for row in results.rows})
    if any(row.average.stderr is not None for row in results.rows):
        parts.append(f"± standard error over {' to '.join(map(str, seeds))} seeds.")
    elif results.rows:
        parts.append("One seed: no standard error over seeds.")
    if any(row.average.interval for row in results.rows):
        parts.append("[ ] 95 % interval.")
    return " ".join(parts)
