"""The plot of what more tuning clusters bring."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from multigraft.reports import baselines, figures
from multigraft.reports.svg import Scale, drawing, el, mark, path, short, spaced, span, text, y_axis
from multigraft.reports.verdicts import first, names
from multigraft.strategies.results import Results, Row

CLOSEST = {"tick": 15, "score": 28}  # pixels from the middle of a label to that of the next


def over_clusters(results: Results, rows: Sequence[Row], width: int, height: int = 260) -> Markup:
    """Average scores of the rows of a series, in its order, with what they are held against; named after the last."""
    wide, name = width > 500, names(results)[rows[-1].id]
    left, right, top, bottom = 36.0, width - (190.0 if wide else 108.0), 34.0, height - 38.0
    bars = _bars(results)
    ends = [end for row in rows for end in (row.average.mean, *(row.average.interval or ()))]
    counts = [row.tuning_clusters or 0 for row in rows]
    x, y = Scale(counts[0], counts[-1], left + 24, right - 18), Scale(*span([*ends, *bars.values()], 0.1), bottom, top)
    parts: list[Markup] = [text(0, 14, name, "heading"), y_axis(y, left, right, 5)]
    parts.append(text((left + right) / 2, height - 4.0, "tuning clusters", "tick", "middle"))
    parts += _lines(bars, y, left, right, top, bottom, width)
    means = [(x(count), y(row.average.mean)) for count, row in zip(counts, rows, strict=True)]
    points: list[Markup] = [path(means, "trace")]
    for row, place in zip(rows, means, strict=True):
        points += _point(results, row, place, y)
    for index in _apart([place for place, _ in means], CLOSEST["tick"]):
        points.append(text(means[index][0], bottom + 14, str(counts[index]), "tick", "middle"))
    for index in _apart([place for place, _ in means], CLOSEST["score"]):
        score = rows[index].average
        above = y(max([score.mean, *(score.interval or ())])) - 6
        points.append(text(means[index][0], above, figures.number(score.mean), "name small", "middle"))
    parts.append(el("g", *points, class_=f"g-{rows[0].strategy}"))
    told = "; ".join(f"{count}: {figures.estimate(row.average)}" for count, row in zip(counts, rows, strict=True))
    against = "; ".join(f"{bar} {figures.number(value)}" for bar, value in bars.items())
    return drawing(
        width, height, f"Average by tuning clusters, {name}: {told}; beside it {against or 'nothing'}", *parts
    )


def _apart(places: Sequence[float], gap: float) -> list[int]:
    """Indices of increasing places of which each lies `gap` beyond the one before."""
    found: list[int] = []
    for index, place in enumerate(places):
        if not found or place - places[found[-1]] >= gap:
            found.append(index)
    return found


def _bars(results: Results) -> dict[str, float]:
    """The averages that a curve is held against: of the first untuned row, and of chance."""
    untuned = first(results, "untuned")
    found = {names(results)[untuned.id]: untuned.average.mean} if untuned else {}
    known = found | {"chance": baselines.average(results.tasks, "chance")}
    return {name: value for name, value in known.items() if figures.finite(value)}


def _point(results: Results, row: Row, place: tuple[float, float], y: Scale) -> list[Markup]:
    parts = []
    if figures.interval(row.average.interval) and row.average.interval:
        low, high = map(y, row.average.interval)
        parts.append(el("line", x1=place[0], x2=place[0], y1=low, y2=high, class_="whisker"))
    return [*parts, mark(row.strategy, *place, title=f"{names(results)[row.id]}: {figures.estimate(row.average)}")]


def _lines(
    bars: dict[str, float], y: Scale, left: float, right: float, top: float, bottom: float, width: int
) -> list[Markup]:
    """Dashed lines across the plot, named at their right ends."""
    parts = []
    ordered = sorted(bars.items(), key=lambda pair: -pair[1])  # from the top
    places = spaced([y(value) for _, value in ordered], 13, top, bottom)
    for (name, value), place in zip(ordered, places, strict=True):
        label = f"{name} {figures.number(value)}" if width > 500 else name
        parts.append(el("line", x1=left, x2=right, y1=y(value), y2=y(value), class_="bar"))
        parts.append(el("path", d=f"M{right + 1:.1f} {y(value):.1f}L{right + 8:.1f} {place:.1f}", class_="lead"))
        parts.append(text(right + 11, place + 3.5, short(label, width - right - 11, 5.4), "name small"))
    return parts
