"""The scoreboard as data: lines, columns and cells that the terminal, Markdown and HTML tables all print."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from multigraft.reports import baselines, figures
from multigraft.reports.verdicts import below_best, names
from multigraft.strategies.results import Estimate, Results, Row

SHORT = {
    "accuracy": "acc", "matthews": "mcc", "pearson": "r", "spearman": "ρ", "f1": "F1", "macro_f1": "mF1",
    "exact_match": "EM", "token_f1": "F1", "rouge1": "R1", "rouge2": "R2", "rougel": "RL", "bleu": "BLEU",
    "chrf": "chrF",
}  # fmt: skip
MANY = 10  # tasks
_PLACES = {"untuned": 0, "separate": 1, "shared": 2, "module": 3, "prompt": 3, "transfer": 5, "expert": 5,
           "instructions": 5}  # fmt: skip
_AS_LISTED = ("untuned", "prompt", "transfer", "expert", "instructions")  # with no schedule of their own
_OTHER_SCHEDULE = 4
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
    group: str  # baseline, or the strategy of the row
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
    """Rows in reading order: as it is, separate, shared, methods, other schedules of these three, then the others."""
    seen: set[tuple[str, str | None, bool]] = set()
    placed = []
    for row in results.rows:
        kind, place = (row.strategy, row.method, row.tuned), _PLACES.get(row.strategy, _PLACES["module"])
        again = kind in seen and row.strategy not in _AS_LISTED
        seen.add(kind)
        placed.append((_OTHER_SCHEDULE if again else place, row))
    return [row for _, row in sorted(placed, key=lambda pair: pair[0])]


def board(results: Results) -> Board:
    """The scoreboard of `results`."""
    tasks = [Column(f"task:{t.name}", t.name, short_metric(t.metric), more=True, task=True) for t in results.tasks]
    costs = [column for column, value, _ in _COSTS if any(figures.measured(value(row)) for row in results.rows)]
    overall = [Column("average", "average", "per cent", more=True), *costs]
    # With many tasks the figures that sum them up come first: at the end they would be out of sight.
    columns = (*tasks, *overall) if len(tasks) <= MANY else (*overall, *tasks)
    lines = [_line(results, row) for row in ordered(results)]
    if len(lines) > 1:
        for column in columns:
            lines = embolden(lines, column)
    trivial = []
    for name in baselines.BASELINES:
        if values := baselines.known(results.tasks, name):
            by_column = {f"task:{task}": value for task, value in values.items()}
            trivial.append(baseline(name, by_column | {"average": baselines.average(results.tasks, name)}))
    return Board(columns, tuple(trivial), tuple(lines), caption(results.rows, lines))


def _line(results: Results, row: Row) -> Line:
    cells = {f"task:{task}": scored(value) for task, value in row.scores.items()}
    verdict = below_best(results, row)
    alone = len(results.rows) < 2
    cells["average"] = replace(scored(row.average), mark="" if alone else MARKS[verdict])
    for column, value, wording in _COSTS:
        cost = value(row)
        cells[column.key] = Cell(cost, wording(cost)) if figures.measured(cost) else Cell()
    return Line(names(results)[row.id], row.label, line_note(row), row.strategy, cells)


def line_note(row: Row) -> str:
    """What is said of a row below its label."""
    if row.strategy == "untuned":
        return "not trained"
    backbone = "tuned" if row.tuned else "frozen, heads trained" if row.heads else "frozen"
    return ", ".join(part for part in (row.schedule, backbone) if part)


def scored(value: Estimate) -> Cell:
    """The cell of a score."""
    if not figures.finite(value.mean):
        return Cell()
    return Cell(value.mean, figures.number(value.mean), figures.spread(value), figures.interval(value.interval))


def baseline(name: str, values: Mapping[str, float | None]) -> Line:
    """The line of a baseline with its scores by column key, those that are known."""
    cells = {key: Cell(value, figures.number(value)) for key, value in values.items() if value is not None}
    return Line(name, name, "baseline", "baseline", cells)


def embolden(lines: list[Line], column: Column) -> list[Line]:
    """The lines with the best cells of a column marked; none where all read the same."""
    # Cells that read the same as the best one are as good as anyone can see: all of them are marked.
    cells = [line.cells[column.key] for line in lines if column.key in line.cells]
    shown = [cell for cell in cells if cell.value is not None]
    if len({cell.text for cell in shown}) < 2:
        return lines
    top = (max if column.more else min)(shown, key=lambda cell: cell.value or 0.0).text
    return [
        replace(line, cells=line.cells | {column.key: replace(cell, best=True)})
        if (cell := line.cells.get(column.key)) and cell.text == top
        else line
        for line in lines
    ]


def caption(rows: Sequence[Row], lines: Sequence[Line]) -> str:
    """What the signs in the lines of `rows` mean, as far as they occur."""
    parts = []
    marks = {cell.mark for line in lines for cell in line.cells.values()}
    if len(lines) > 1:
        parts.append("Bold: best of its column, baselines aside.")
    if "≈" in marks:
        parts.append("≈ best average, or not significantly different from it (paired bootstrap, Holm-corrected).")
    if "?" in marks:
        parts.append("? not compared with the best average.")
    seeds = sorted({len(row.seeds) for row in rows if row.average.stderr is not None})
    if seeds:
        parts.append(f"± standard error over {' to '.join(map(str, seeds))} seeds{_few(rows)}.")
    elif rows:
        parts.append("One seed: no standard error over seeds.")
    if any(row.average.interval for row in rows):
        parts.append("[ ] 95 % interval.")
    return " ".join(parts)


def _few(rows: Sequence[Row]) -> str:
    return "; without it: one seed" if any(row.average.stderr is None for row in rows) else ""
