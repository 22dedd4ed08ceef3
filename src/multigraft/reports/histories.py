"""The plots of what happened over time: which tasks were drawn, and how training went."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from multigraft.reports import figures
from multigraft.reports.board import ordered
from multigraft.reports.svg import Scale, drawing, el, path, short, spaced, span, text, x_axis, y_axis
from multigraft.reports.verdicts import names
from multigraft.strategies.results import Curve, Results, Row

MOST_TASKS = 12  # bands in one plot of draws; the smallest tasks beyond are shown together
MOST_POINTS = 40  # of a loss curve; longer ones are averaged in windows
_RAMP = ((38, 70, 130), (62, 124, 160), (120, 170, 160), (196, 190, 120), (244, 206, 98))  # even steps of lightness


def draws(results: Results, width: int, height: int = 230) -> list[Markup]:
    """Shares of the tasks in each epoch, one plot per schedule that mixes tasks, largest task at the bottom."""
    plots, seen = [], set()
    for row in ordered(results):
        if row.strategy != "separate" and row.schedule not in seen and any(row.draws.values()):
            seen.add(row.schedule)
            plots.append(_bands(row.schedule, _largest_first(results, row), width, height))
    return plots


def _largest_first(results: Results, row: Row) -> dict[str, tuple[float, ...]]:
    size = {task.name: task.train_rows for task in results.tasks}
    known = {
        task: tuple(s if figures.finite(s) else 0.0 for s in shares) for task, shares in row.draws.items() if shares
    }
    order = sorted(known, key=lambda task: -size.get(task, 0))
    if len(order) <= MOST_TASKS:
        return {task: known[task] for task in order}
    rest = order[MOST_TASKS - 1 :]
    together = tuple(sum(shares) for shares in zip(*(known[task] for task in rest), strict=False))
    return {task: known[task] for task in order[: MOST_TASKS - 1]} | {f"{len(rest)} smaller tasks": together}


def _bands(schedule: str, shares: dict[str, tuple[float, ...]], width: int, height: int) -> Markup:
    epochs = min(len(values) for values in shares.values())
    left, right, top, bottom = 38.0, width - 88.0, 26.0, height - 32.0
    x, y = Scale(0, epochs, left, right), Scale(0, 1, bottom, top)
    parts: list[Markup] = [text(0, 14, schedule, "heading")]
    base, middles = [0.0] * epochs, []
    for index, (task, values) in enumerate(shares.items()):
        upper = [low + value for low, value in zip(base, values, strict=False)]
        there = [f"{x(e + i):.1f} {y(upper[e]):.1f}" for e in range(epochs) for i in (0, 1)]
        back = [f"{x(e + i):.1f} {y(base[e]):.1f}" for e in reversed(range(epochs)) for i in (1, 0)]
        tip = el(
            "title",
            f"{task}: {figures.share(values[0])} in epoch 1, {figures.share(values[epochs - 1])} in epoch {epochs}",
        )
        parts.append(el("path", tip, d=f"M{'L'.join(there + back)}z", fill=_shade(index, len(shares)), class_="band"))
        middles.append(y((base[-1] + upper[-1]) / 2))
        base = upper
    parts += _band_labels(shares, middles, epochs, right, top, bottom)
    parts += [text(left - 5, y(tick) + 3.5, f"{tick:.0%}".replace("%", " %"), "tick", "end") for tick in (0, 0.5, 1)]
    marked = dict.fromkeys((1, (epochs + 1) // 2, epochs))
    parts += [text(x(epoch - 0.5), bottom + 14, str(epoch), "tick", "middle") for epoch in marked]
    parts.append(text((left + right) / 2, height - 4.0, "epoch", "tick", "middle"))
    told = "; ".join(f"{task} {figures.share(v[0])} to {figures.share(v[epochs - 1])}" for task, v in shares.items())
    return drawing(
        width, height, f"Shares of rows drawn by the schedule {schedule}, first to last epoch: {told}", *parts
    )


def _band_labels(
    shares: dict[str, tuple[float, ...]], middles: Sequence[float], epochs: int, right: float, top: float, bottom: float
) -> list[Markup]:
    # Bands are stacked upwards, pixels count downwards: turned round for spacing, and back.
    places = list(reversed(spaced(list(reversed(middles)), 12.5, top + 3, bottom - 2)))
    parts = []
    for (task, values), middle, place in zip(shares.items(), middles, places, strict=True):
        last = 100 * values[epochs - 1]
        words = f"{short(task, 54)} {figures.number(last, 0 if last >= 9.95 else 1)}"
        parts.append(el("path", d=f"M{right + 2:.1f} {middle:.1f}L{right + 10:.1f} {place:.1f}", class_="lead"))
        parts.append(text(right + 13, place + 3.5, words, "name small"))
    return parts


def _shade(index: int, count: int) -> str:
    place = index / max(count - 1, 1) * (len(_RAMP) - 1)
    step = min(int(place), len(_RAMP) - 2)
    low, high = _RAMP[step], _RAMP[step + 1]
    return "#" + "".join(f"{round(a + (b - a) * (place - step)):02x}" for a, b in zip(low, high, strict=True))


def curves(results: Results, width: int, height: int = 150) -> list[Markup]:
    """Dev average and training loss, one plot per way, its seeds in colour before all other ways in grey."""
    rows = [row for row in ordered(results) if any(curve.step or curve.dev_step for curve in row.curves)]
    dev = {row.id: [_line(curve.dev_step, curve.dev_average) for curve in row.curves] for row in rows}
    loss = {row.id: [_windows(curve) for curve in row.curves] for row in rows}
    half = (width - 16) / 2
    frames = [
        ("dev average", dev, *_frame(dev, 30.0, half, height)),
        ("training loss", loss, *_frame(loss, half + 46.0, float(width), height)),
    ]
    plots = []
    for row in rows:
        parts: list[Markup] = [text(0, 13, names(results)[row.id], "heading")]
        for title, lines, x, y in frames:
            parts += [y_axis(y, x.start, x.end), x_axis(x, y.end, y.start, 3)]
            parts.append(text(x.start, 28, title, "tick"))
            others = [line for other in rows if other.id != row.id for line in lines[other.id][:1]]
            parts += [_trace(x, y, line, "context") for line in others]
            parts.append(el("g", *(_trace(x, y, line, "trace") for line in lines[row.id]), class_=f"g-{row.strategy}"))
        plots.append(drawing(width, height, _told(names(results)[row.id], row), *parts))
    return plots


Line = list[tuple[float, float]]


def _line(steps: Sequence[int], values: Sequence[float]) -> Line:
    return [(step, value) for step, value in zip(steps, values, strict=False) if figures.finite(value)]


def _windows(curve: Curve) -> Line:
    """The loss curve of one seed, averaged in windows of equally many points."""
    line = _line(curve.step, curve.train_loss)
    size = -(-len(line) // MOST_POINTS)
    windows = [line[start : start + size] for start in range(0, len(line), size or 1)]
    return [(sum(x for x, _ in w) / len(w), sum(y for _, y in w) / len(w)) for w in windows]


def _frame(lines: dict[str, list[Line]], left: float, right: float, height: int) -> tuple[Scale, Scale]:
    points = [point for seeds in lines.values() for line in seeds for point in line]
    last = max((x for x, _ in points), default=1.0)
    return Scale(0, last or 1.0, left, right - 6), Scale(*span(y for _, y in points), height - 20.0, 34.0)


def _trace(x: Scale, y: Scale, line: Line, class_: str) -> Markup:
    if len(line) == 1:
        return el("circle", cx=x(line[0][0]), cy=y(line[0][1]), r=2.0, class_=f"{class_} point")
    return path([(x(step), y(value)) for step, value in line], class_)


def _told(name: str, row: Row) -> str:
    ends = [curve.dev_average[-1] for curve in row.curves if curve.dev_average]
    return (
        f"Learning curves of {name}; dev average at the end: {', '.join(map(figures.number, ends)) or 'not recorded'}"
    )
