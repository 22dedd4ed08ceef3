"""The plots of the report, as SVG for a given width: narrow ones for a phone, wide ones for a screen or paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from multigraft.reports import baselines, figures
from multigraft.reports.board import ordered, short_metric
from multigraft.reports.clusters import GUESSES, clusters, tasks_in
from multigraft.reports.svg import Scale, drawing, el, mark, short, span, text, x_axis, y_axis
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
    scale = Scale(*span(_extent(dots)), room + 8, width - (84.0 if wide else 44.0))
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


def _extent(dots: Sequence[_Dot]) -> list[float]:
    ends = [end for dot in dots for end in dot.score.interval or ()]
    return [*ends, *(dot.score.mean for dot in dots)]


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


def sizes(results: Results, width: int, height: int = 380) -> Markup:
    """Average against the parameters that a way needs beyond one model, on a logarithmic axis."""
    rows = [row for row in ordered(results) if figures.finite(row.average.mean) and figures.finite(row.relative)]
    beyond = {row.id: row.relative - 1 for row in rows}
    least = max(min((size for size in beyond.values() if size > 0), default=0.01), 1e-5)
    most = max(*beyond.values(), least * 10) if rows else 1.0
    left, right, bottom = 36.0, width - 14.0, height - 44.0
    x_scale = Scale(least / 2, most * 1.6, left + 6, right, log=True)
    y_scale = Scale(*span(_extent([_dot(results, row, row.average, False) for row in rows])), bottom, 14.0)
    parts: list[Markup] = [y_axis(y_scale, left, right, 6), _percent_axis(x_scale, 10.0, bottom)]
    parts.append(text((left + right) / 2, height - 8.0, "parameters beyond one model (logarithmic)", "tick", "middle"))
    places = {row.id: (x_scale(max(beyond[row.id], least / 1.6)), y_scale(row.average.mean)) for row in rows}
    labels = _Labels(left, right, 10.0, bottom, list(places.values()))
    for row in rows:
        x, y = places[row.id]
        words = f"{names(results)[row.id]} {figures.times(row.relative)}"
        label = words if width > 500 else short(names(results)[row.id], 120)
        whisker = []
        if figures.interval(row.average.interval) and row.average.interval:
            low, high = map(y_scale, row.average.interval)
            whisker = [el("line", x1=x, x2=x, y1=low, y2=high, class_="whisker thin")]
        dot = mark(row.strategy, x, y, hollow=below_best(results, row) == "lower", title=words)
        parts.append(el("g", *whisker, dot, labels.near(x, y, label), class_=f"g-{row.strategy}"))
    told = "; ".join(
        f"{names(results)[row.id]} {figures.times(row.relative)}, {figures.number(row.average.mean)}" for row in rows
    )
    return drawing(width, height, f"Parameters relative to one model, and average: {told}", *parts)


def _percent_axis(scale: Scale, top: float, bottom: float) -> Markup:
    parts = []
    for tick in scale.ticks():
        words = f"+{tick * 100:,.0f} %" if tick >= 0.01 else f"+{tick * 100:g} %"
        parts.append(el("line", x1=scale(tick), x2=scale(tick), y1=top, y2=bottom, class_="grid"))
        parts.append(text(scale(tick), bottom + 14, words, "tick", "middle"))
    return Markup("").join(parts)


class _Labels:
    """Places labels beside their points so that they cover neither points nor one another, as far as there is room."""

    def __init__(
        self, left: float, right: float, top: float, bottom: float, points: Sequence[tuple[float, float]]
    ) -> None:
        self.left, self.right, self.top, self.bottom = left, right, top, bottom
        self.taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in points]

    def near(self, x: float, y: float, words: str) -> Markup:
        """The label of the point at x, y, with a thin line to it where it had to go far; nothing where none fits."""
        length = 6.5 * len(words)
        for shift in (0, 13, -13, 26, -26, 39, -39, 52, -52, 65, -65, 78, -78, 91, -91, 104, -104):
            for start, anchor in ((x + 11, "start"), (x - 11 - length, "end")):
                box = (start, y + shift - 6, start + length, y + shift + 6)
                inside = box[0] > self.left and box[2] < self.right and box[1] > self.top and box[3] < self.bottom
                if inside and not any(_overlap(box, other) for other in self.taken):
                    self.taken.append(box)
                    side = x + 11 if anchor == "start" else x - 11
                    label = text(side, y + shift + 4, words, "name", anchor)
                    lead = el(
                        "line", x1=x, y1=y, x2=side - (2 if anchor == "start" else -2), y2=y + shift, class_="lead"
                    )
                    return Markup("").join([lead, label]) if abs(shift) > 13 else label
        return Markup("")


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
