"""Score against cost: which ways no other way beats at both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from multigraft.reports import figures
from multigraft.reports.board import ordered
from multigraft.reports.svg import Scale, drawing, el, mark, short, span, text, y_axis
from multigraft.reports.verdicts import below_best, names
from multigraft.strategies.results import Results

HEIGHT = 380
LEFT, TOP = 36.0, 10.0


def sizes(results: Results, width: int) -> Markup:
    """Average against the parameters that a way needs beyond one model, on a logarithmic axis."""
    costs = {row.id: row.relative - 1 for row in results.rows if figures.finite(row.relative)}
    told = {row.id: figures.times(row.relative) for row in results.rows}
    return _scatter(results, width, costs, told, "parameters beyond one model (logarithmic)", _percent)


def times(results: Results, width: int) -> Markup:
    """Average against the time of training, on a logarithmic axis; what was not trained stands at the left edge."""
    costs = {row.id: row.train_seconds for row in results.rows if figures.finite(row.train_seconds)}
    told = {row.id: figures.duration(row.train_seconds) for row in results.rows}
    return _scatter(results, width, costs, told, "time of training (logarithmic)", figures.duration)


def front(costs: Mapping[str, float], scores: Mapping[str, float]) -> list[str]:
    """Those that no other beats, which costs no more and scores no less: by cost, the cheapest first."""
    found: list[str] = []
    for name in sorted(costs, key=lambda one: (costs[one], -scores[one])):
        if not found or scores[name] > scores[found[-1]]:
            found.append(name)
    return found


def _scatter(
    results: Results, width: int, costs: Mapping[str, float], told: Mapping[str, str], title: str,
    wording: Callable[[float], str],
) -> Markup:  # fmt: skip
    rows = [row for row in ordered(results) if row.id in costs and figures.finite(row.average.mean)]
    left, right, bottom = LEFT, width - 14.0, HEIGHT - 44.0
    least = max(min((cost for cost in costs.values() if cost > 0), default=0.01), 1e-5)
    most = max([*costs.values(), least * 10])
    x_scale = Scale(least / 2, most * 1.6, left + 6, right, log=True)
    y_scale = Scale(*span(figures.ends(row.average for row in rows)), bottom, 14.0)
    places = {row.id: (x_scale(max(costs[row.id], least / 1.6)), y_scale(row.average.mean)) for row in rows}
    parts = [y_axis(y_scale, left, right, 6), _cost_axis(x_scale, bottom, wording)]
    parts.append(text((left + right) / 2, HEIGHT - 8.0, title, "tick", "middle"))
    best = front({row.id: costs[row.id] for row in rows}, {row.id: row.average.mean for row in rows})
    parts.append(_steps([places[name] for name in best], right))
    labels = _Labels(left, right, TOP, bottom, list(places.values()))
    for row in rows:
        x, y = places[row.id]
        words = f"{names(results)[row.id]} {told[row.id]}"
        label = words if width > 500 else short(names(results)[row.id], 120)
        whisker = []
        if figures.interval(row.average.interval) and row.average.interval:
            low, high = map(y_scale, row.average.interval)
            whisker = [el("line", x1=x, x2=x, y1=low, y2=high, class_="whisker thin")]
        dot = mark(row.strategy, x, y, hollow=below_best(results, row) == "lower", title=words)
        parts.append(el("g", *whisker, dot, labels.near(x, y, label), class_=f"g-{row.strategy}"))
    said = "; ".join(f"{names(results)[row.id]} {told[row.id]}, {figures.number(row.average.mean)}" for row in rows)
    return drawing(width, HEIGHT, f"{title.capitalize()}, and average: {said}", *parts)


def _steps(points: Sequence[tuple[float, float]], right: float) -> Markup:
    """A line through the ways that no other beats: what is the best score for at most so much."""
    path = [f"M{points[0][0]:.1f},{points[0][1]:.1f}"] if points else []
    path += [f"H{x:.1f}V{y:.1f}" for x, y in points[1:]]
    return el("path", d="".join([*path, f"H{right:.1f}"]), class_="front") if path else Markup("")


def _percent(share: float) -> str:
    return f"+{share * 100:,.0f} %" if share >= 0.01 else f"+{share * 100:g} %"


def _cost_axis(scale: Scale, bottom: float, wording: Callable[[float], str]) -> Markup:
    parts = []
    for tick in scale.ticks():
        parts.append(el("line", x1=scale(tick), x2=scale(tick), y1=TOP, y2=bottom, class_="grid"))
        parts.append(text(scale(tick), bottom + 14, wording(tick), "tick", "middle"))
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
