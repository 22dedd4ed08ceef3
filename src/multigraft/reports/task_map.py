"""A task map: similarities as a heat map in the order of their clusters, under their dendrogram, as SVG."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import combinations
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from multigraft.errors import UserError
from multigraft.library.similarity import Clustering, cluster
from multigraft.reports import figures
from multigraft.reports.svg import Scale, drawing, el, path, short, text, y_axis

MOST = 200  # tasks; with more, neither names nor cells can be told apart
WIDTH = 900  # pixels of a picture that stands alone
NOTE = "average linkage of 1 − similarity"
TREE, GAP, LEGEND = 66.0, 6.0, 184.0  # pixels: height of the dendrogram, gap below it, width of the legend
BEYOND = "a task with itself lies beyond"
_TURN = 0.755  # shade from which white on a cell reads better than black, or on dark paper black than white
_CELL, _ROOMY = 46, 30  # pixels: the largest cell, the least that has its value in it


class Branch(NamedTuple):
    """Two clusters become one: their places along the map, in cells, and the distances at which the three formed."""

    left: float
    right: float
    low_left: float
    low_right: float
    height: float


@dataclass(frozen=True)
class TaskMap:
    """Similarities of N tasks in the order of their clusters, and the scale that shows them."""

    names: list[str]
    values: np.ndarray  # N x N
    branches: list[Branch]  # N - 1, from the closest pair up
    low: float  # the scale's ends: -high where a value is negative
    high: float

    @property
    def diverging(self) -> bool:
        """Whether the scale goes both ways from 0."""
        return self.low < 0

    @property
    def top(self) -> float:
        """The distance that the dendrogram reaches up to."""
        return max((branch.height for branch in self.branches), default=0.0) or 1.0

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Ends and middle of the scale, with the decimals that tell them apart."""
        decimals = max(2, 1 - math.floor(math.log10(self.high - self.low)))
        places = (self.low, (self.low + self.high) / 2, self.high)
        return [(place, figures.number(place, decimals)) for place in places]

    @property
    def beyond(self) -> bool:
        """Whether a task's similarity with itself lies beyond the scale."""
        return bool((np.diag(self.values) > self.high + 1e-9).any())

    def shade(self, value: float) -> float:
        """How strongly a value is coloured, 0 to 1: by its distance from 0, or from the lowest value."""
        start = 0.0 if self.diverging else self.low
        return min(max((abs(value) if self.diverging else value) - start, 0.0) / (self.high - start), 1.0)

    def pair(self, row: int, column: int) -> str:
        """What one cell says."""
        return f"{self.names[row]} – {self.names[column]}: {figures.number(float(self.values[row, column]), 3)}"

    def strong(self, value: float) -> bool:
        """Whether a value's cell is so strongly coloured that words on it must be in the colour for that."""
        return self.shade(value) >= _TURN

    def description(self, title: str) -> str:
        """The map in words: the order, and the pairs that are most and least alike."""
        parts = [f"{title}, tasks in the order of their clusters: {', '.join(self.names)}"]
        pairs = sorted(combinations(range(len(self.names)), 2), key=lambda pair: -self.values[pair])
        if pairs:
            parts.append("most alike: " + ", ".join(self.pair(*pair) for pair in pairs[:3]))
        if len(pairs) > 3:
            parts.append("least alike: " + self.pair(*pairs[-1]))
        return "; ".join(parts)


def task_map(names: Sequence[str], similarity: np.ndarray) -> TaskMap:
    """The map of N tasks by their similarity N x N, in [-1, 1].

    The scale spans what lies off the diagonal: beside a task's likeness to itself, others would look all the same.
    Raises UserError for more than `MOST` tasks, ValueError when names and similarity do not fit.
    """
    similarity = np.asarray(similarity, np.float64)
    if not names or similarity.shape != (len(names), len(names)):
        raise ValueError(f"{len(names)} names for similarities of shape {similarity.shape}")
    if len(names) > MOST:
        raise UserError(f"a map shows at most {MOST} tasks, got {len(names)}", fix="choose some of them")
    found = cluster(similarity)
    values = similarity[np.ix_(found.order, found.order)]
    others = values[~np.eye(len(names), dtype=bool)] if len(names) > 1 else values.ravel()
    low, high = float(others.min()), float(others.max())
    if low < 0:
        low, high = -max(-low, high), max(-low, high)
    if high - low < 1e-6:  # a single pair, or differences that are rounding
        low, high = 0.0, max(high, 1.0)
    return TaskMap([names[i] for i in found.order], values, _branches(found), low, high)


def _branches(found: Clustering) -> list[Branch]:
    nodes = {task: (place + 0.5, 0.0) for place, task in enumerate(found.order)}
    made: list[Branch] = []
    for first, second, height, _ in found.merges.tolist():
        (left, low_left), (right, low_right) = sorted((nodes[int(first)], nodes[int(second)]))
        nodes[len(found.order) + len(made)] = ((left + right) / 2, height)
        made.append(Branch(left, right, low_left, low_right, height))
    return made


def picture(names: Sequence[str], similarity: np.ndarray, title: str, width: int = WIDTH) -> Markup:
    """The map as SVG for a page, at most `width` pixels wide; its colours are those of style.css."""
    return Drawing(task_map(names, similarity), title, width).draw()


def standalone(names: Sequence[str], similarity: np.ndarray, title: str) -> str:
    """The map as an SVG file of its own, with its colours inside, for light and for dark screens."""
    drawn = Drawing(task_map(names, similarity), title, WIDTH)
    width, height = drawn.width + 32, drawn.height + 32
    light, dark = colours()
    style = f"{_rules(light)}\n@media (prefers-color-scheme: dark) {{\n{_rules(dark)}\n}}"
    inner = el("g", drawn.draw(), transform="translate(16 16)")
    paper = el("rect", width=width, height=height, class_="map-paper")
    return el(
        "svg",
        *(el("title", title), el("style", style), paper, inner),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        font_family="system-ui, sans-serif",
    )


def colours() -> tuple[dict[str, str], dict[str, str]]:
    """Colours of style.css by their names, as on light and on dark screens."""
    light, dark, *_ = re.findall(r":root \{(.*?)\}", _style(), re.DOTALL)
    named = [dict(re.findall(r"--([\w-]+): (#\w+);", block)) for block in (light, dark)]
    return named[0], named[0] | named[1]


def _style() -> str:
    return files("multigraft.reports").joinpath("style.css").read_text(encoding="utf-8")


def _rules(named: dict[str, str]) -> str:
    """The rules of style.css that a map needs, with the colours in place: not every viewer knows variables."""
    rules = re.findall(r"^(?:svg|\.grid|\.map-\w+).*\}$", _style(), re.MULTILINE)
    return re.sub(r"var\(--([\w-]+)\)", lambda match: named[match[1]], "\n".join(rules))


class Drawing:
    """Where things stand in a map of at most `width` pixels, and the elements themselves."""

    def __init__(self, shown: TaskMap, title: str, width: int) -> None:
        self.shown, self.title, count = shown, title, len(shown.names)
        longest = max(map(len, shown.names))

        def room(cell: int) -> float:  # of a name, in pixels
            return min(longest * min(11.5, cell * 0.9) * 0.56, 150.0, width * 0.3)

        # Whole pixels keep the cells sharp.
        sizes = (cell for cell in range(_CELL, 1, -1) if max(room(cell) + 8, 42) + cell * count + 10 <= width)
        self.cell = next(sizes, 1)
        self.font, self.room = min(11.5, self.cell * 0.9), room(self.cell)
        self.values = min(11.5, self.cell * 0.28) if self.cell >= _ROOMY else 0.0  # size of figures in cells
        self.left, self.side = max(round(self.room) + 8.0, 42.0), float(self.cell * count)
        self.top = 44 + (TREE if shown.branches else 0)
        self.legend = self.top + self.side + self.room + 26
        self.width = min(max(self.left + max(self.side, LEGEND) + 10, 7.6 * len(title)), float(width))
        self.height = self.legend + (44 if shown.beyond else 28)

    def fitted(self, name: str) -> str:
        """A task's name, cut to its room."""
        return short(name, self.room + 1, self.font * 0.56)

    def draw(self) -> Markup:
        """The whole picture."""
        parts = [text(0, 14, self.title, "heading"), *self._tree(), *self._cells(), *self._names(), *self._key()]
        return drawing(self.width, self.height, self.shown.description(self.title), *parts)

    def _tree(self) -> list[Markup]:
        if not self.shown.branches:
            return []
        scale = Scale(0.0, self.shown.top, self.top - GAP, self.top - TREE + 2)
        parts = [text(0, 30, NOTE, "tick"), y_axis(scale, self.left, self.left + self.side, 3)]
        for branch in self.shown.branches:
            left, right = (self.left + self.cell * place for place in (branch.left, branch.right))
            up = scale(branch.height)
            corners = [(left, scale(branch.low_left)), (left, up), (right, up), (right, scale(branch.low_right))]
            parts.append(path(corners, "map-tree"))
        return parts

    def _cells(self) -> list[Markup]:
        values = self.shown.values
        alike: list[Markup] = []
        opposite: list[Markup] = []
        printed: list[Markup] = []
        for (row, column), value in np.ndenumerate(values):
            x, y, shade = self.left + column * self.cell, self.top + row * self.cell, self.shown.shade(value)
            said = el("title", self.shown.pair(row, column))
            (opposite if value < 0 else alike).append(_box(x, y, self.cell, self.cell, shade, said))
            if self.values:
                look = "map-strong" if self.shown.strong(value) else None
                place = {"x": x + self.cell / 2, "y": y + self.cell / 2 + 3.5, "text_anchor": "middle"}
                printed.append(el("text", figures.number(value, 2), class_=look, **place))
        return [
            *_coloured(alike, opposite),
            el("rect", x=self.left, y=self.top, width=self.side, height=self.side, class_="map-frame"),
            el("g", *printed, class_="map-values", font_size=f"{self.values:.1f}"),
        ]

    def _names(self) -> list[Markup]:
        found, below = [], self.top + self.side + 6
        for index, name in enumerate(self.shown.names):
            middle = (index + 0.5) * self.cell + self.font * 0.35
            words = [self.fitted(name), el("title", name)]
            x, y = self.left + middle, self.top + middle
            turned = f"rotate(-90 {x:.1f} {below:.1f})"
            found += [el("text", *words, x=self.left - 6, y=y, text_anchor="end")]
            found += [el("text", *words, x=x, y=below, text_anchor="end", transform=turned)]
        return [el("g", *found, class_="map-names", font_size=f"{self.font:.1f}")]

    def _key(self) -> list[Markup]:
        """The legend: the scale in steps, coloured as the cells are."""
        shown, y = self.shown, self.legend
        scale = Scale(shown.low, shown.high, self.left, self.left + LEGEND)
        step = (shown.high - shown.low) / 46
        alike: list[Markup] = []
        opposite: list[Markup] = []
        for index in range(46):
            value = shown.low + (index + 0.5) * step
            box = _box(self.left + 4.0 * index, y, 4.0, 9.0, shown.shade(value))
            (opposite if value < 0 else alike).append(box)
        parts = _coloured(alike, opposite)
        parts += [text(scale(value), y + 21, words, "tick", "middle") for value, words in shown.ticks]
        if shown.beyond:
            parts.append(text(self.left, y + 37, BEYOND, "tick"))
        return parts


def _box(x: float, y: float, width: float, height: float, shade: float, *inside: Markup) -> Markup:
    return el("rect", *inside, x=x, y=y, width=width, height=height, fill_opacity=f"{shade:.2f}")


def _coloured(alike: list[Markup], opposite: list[Markup]) -> list[Markup]:
    """The boxes of either side of 0, in their colours, with sharp edges: soft ones would leave seams."""
    sides = (("map-alike", alike), ("map-opposite", opposite))
    return [el("g", *boxes, class_=side, shape_rendering="crispEdges") for side, boxes in sides if boxes]
