"""The plots of the report, as SVG for a given width: narrow ones for a phone, wide ones for a screen or paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from multigraft.reports import baselines, figures
from multigraft.reports.board import ordered, short_metric
from multigraft.reports.clusters import GUESSES, clusters, tasks_in
from multigraft.reports.svg import Scale, drawing, el, mark, short, span, text, x_axis
from multigraft.reports.verdicts import below_best, names
from multigraft.strategies.results import Estimate, Results, Row

LINE = 22  # pixels from one way to the next


@dataclass(frozen=True)
class _Dot:
    name: str
    group: str
    score: Estimate
    hollow: bool


def averages(results: Results, width: int) -> Markup:
    """The average of every way with its interval; hollow where it is significantly below the best."""
    rows = [row for row in ordered(results) if figures.finite(row.average.mean)]
    dots = [_dot(results, row, row.average, below_best(results, row) == "lower") for row in rows]
    bars = {name: baselines.average(results.tasks, name) for name in reversed(baselines.BASELINES)}
    return _whiskers("average", "per cent", dots, bars, width)


def by_task(results: Results, width: int) -> list[Markup]:
    """One small plot per task, in the order of the scoreboard's columns."""
    plots = []
    for task in results.tasks:
        rows = [row for row in ordered(results) if task.name in row.scores]
        dots = [_dot(results, row, row.scores[task.name], False) for row in rows]
        dots = [dot for dot in dots if figures.finite(dot.score.mean)]
        bars = {name: baselines.average([task], name) for name in reversed(baselines.BASELINES)}
        plots.append(_whiskers(task.name, short_metric(task.metric), dots, bars, width))
    return plots


def by_cluster(results: Results, width: int) -> list[Markup]:
    """One small plot per held-out cluster: averages over its tasks."""
    plots = []
    for cluster in clusters(results):
        rows = [row for row in ordered(results) if cluster in row.by_cluster]
        dots = [_dot(results, row, row.by_cluster[cluster], False) for row in rows]
        dots = [dot for dot in dots if figures.finite(dot.score.mean)]
        tasks = tasks_in(results, cluster)
        bars = {name: baselines.average(tasks, name) for name in reversed(GUESSES)}
        plots.append(_whiskers(cluster, f"{len(tasks)} task{'s' if len(tasks) != 1 else ''}", dots, bars, width))
    return plots


def _dot(results: Results, row: Row, score: Estimate, hollow: bool) -> _Dot:
    return _Dot(names(results)[row.id], row.strategy, score, hollow)


def _whiskers(title: str, note: str, dots: Sequence[_Dot], bars: dict[str, float | None], width: int) -> Markup:
    top, bottom = 26.0, 30.0 + LINE * len(dots)
    wide = width > 500
    room = 225.0 if wide else 150.0  # for the names
    scale = Scale(*span(figures.ends(dot.score for dot in dots)), room + 8, width - (84.0 if wide else 44.0))
    best = max(
        (figures.number(dot.score.mean) for dot in sorted(dots, key=lambda dot: dot.score.mean)[-1:]), default=""
    )
    parts: list[Markup] = [
        el("text", title, el("tspan", f"  {note}", class_="tick"), x=0, y=14, class_="heading"),
        x_axis(scale, top, bottom, 8 if wide else 5),
    ]
    known = {name: value for name, value in bars.items() if figures.finite(value)}
    for index, (name, value) in enumerate(known.items()):
        parts.append(_baseline(scale, name, value, top, bottom, bottom + 29.0 + 13 * index))
    for index, dot in enumerate(dots):
        parts.append(_whisker(scale, dot, top + LINE * (index + 0.5) + 2, width, room, best))
    told = "; ".join(f"{dot.name} {figures.estimate(dot.score)}" for dot in dots)
    return drawing(width, bottom + 22 + 13 * len(known), f"Scores on {title}: {told}", *parts)


def _whisker(scale: Scale, dot: _Dot, y: float, width: int, room: float, best: str) -> Markup:
    x, parts = scale(dot.score.mean), []
    if figures.interval(dot.score.interval) and dot.score.interval:
        low, high = map(scale, dot.score.interval)
        parts.append(el("line", x1=low, x2=high, y1=y, y2=y, class_="whisker"))
    value = figures.number(dot.score.mean)
    full = f"{value} {figures.spread(dot.score)}".strip()
    name = el("text", short(dot.name, room), el("title", dot.name), x=0, y=y + 4, class_="name")
    parts += [
        mark(dot.group, x, y, hollow=dot.hollow, title=f"{dot.name}: {figures.estimate(dot.score)}"),
        text(width - 2.0, y + 4, full if width > 500 else value, "strong" if value == best else "", "end"),
    ]
    return el("g", name, *parts, class_=f"g-{dot.group}")


def _baseline(scale: Scale, name: str, value: float, top: float, bottom: float, y: float) -> Markup:
    """A dashed line where the baseline lies in view, else an arrow that says on which side it is."""
    words = f"{name} {figures.number(value)}"
    if value < scale.low:
        return text(scale.start, y, f"◂ {words}", "tick", "start")
    if value > scale.high:
        return text(scale.end, y, f"{words} ▸", "tick", "end")
    x = scale(value)
    anchor = "start" if x < scale.start + 45 else "end" if x > scale.end - 45 else "middle"
    line = el("line", x1=x, x2=x, y1=top, y2=bottom, class_="bar")
    return Markup("").join([line, text(x, y, words, "tick", anchor)])
