"""A task map as PNG: the picture of `task_map`, on light paper, by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from multigraft.errors import UserError
from multigraft.reports import figures
from multigraft.reports.svg import Scale, tick_label
from multigraft.reports.task_map import BEYOND, GAP, LEGEND, NOTE, TREE, WIDTH, Drawing, colours, task_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_MARGIN = 16.0  # pixels, as everything here is; the file has `_SHARPNESS` times as many
_SHARPNESS = 3
_POINT = 0.72  # points in a pixel, 100 of which are an inch


def png(names: Sequence[str], similarity: np.ndarray, title: str) -> bytes:
    """The map of N tasks by their similarity N x N, in [-1, 1], as the content of a PNG file.

    Raises UserError without matplotlib, and as `task_map` does.
    """
    try:
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.figure import Figure
    except ImportError:
        fix = "pip install 'multigraft[plots]', or write an .svg file"
        raise UserError("a plot as PNG needs matplotlib", fix=fix) from None
    drawn, ink = Drawing(task_map(names, similarity), title, WIDTH), colours()[0]
    width, height = drawn.width + 2 * _MARGIN, drawn.height + 2 * _MARGIN
    figure = Figure(figsize=(width / 100, height / 100), facecolor=ink["paper"])
    stops = [ink["opposite"], ink["paper"], ink["alike"]] if drawn.shown.diverging else [ink["paper"], ink["alike"]]
    shades = LinearSegmentedColormap.from_list("shades", stops)
    _words(figure, 0, 14, title, 13, ink["ink"], weight="bold")
    if drawn.shown.branches:
        _words(figure, 0, 30, NOTE, 10.5, ink["soft"])
        _tree(_axes(figure, drawn.left, drawn.top - TREE + 2, drawn.side, TREE - GAP - 2), drawn, ink)
    _cells(_axes(figure, drawn.left, drawn.top, drawn.side, drawn.side), drawn, shades, ink)
    _key(_axes(figure, drawn.left, drawn.legend, LEGEND, 9), drawn, shades, ink)
    if drawn.shown.beyond:
        _words(figure, drawn.left, drawn.legend + 37, BEYOND, 10.5, ink["soft"])
    written = BytesIO()
    figure.savefig(
        written,
        format="png",
        dpi=100 * _SHARPNESS,
        metadata={"Title": drawn.shown.description(title), "Software": None},
    )
    return written.getvalue()


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    whole_width, whole_height = figure.get_size_inches() * 100
    bottom = whole_height - _MARGIN - top - height
    box = (left + _MARGIN) / whole_width, bottom / whole_height, width / whole_width, height / whole_height
    axes = figure.add_axes(box)
    axes.tick_params(length=0, pad=4)
    axes.spines[:].set_visible(False)
    axes.patch.set_visible(False)
    return axes


def _words(figure: Figure, x: float, y: float, words: str, size: float, colour: str, weight: str = "normal") -> None:
    width, height = figure.get_size_inches() * 100
    place = ((x + _MARGIN) / width, 1 - (y + _MARGIN) / height)
    figure.text(*place, words, fontsize=size * _POINT, color=colour, weight=weight, parse_math=False)


def _tree(axes: Axes, drawn: Drawing, ink: dict[str, str]) -> None:
    shown = drawn.shown
    ticks = Scale(0.0, shown.top, 0.0, 1.0).ticks(3)
    axes.set(xlim=(0, len(shown.names)), ylim=(0, shown.top), xticks=[])
    axes.set_yticks(ticks, [tick_label(t, ticks) for t in ticks], fontsize=10.5 * _POINT, color=ink["soft"])
    axes.grid(axis="y", color=ink["line"], linewidth=_POINT)
    for branch in shown.branches:
        across = [branch.left, branch.left, branch.right, branch.right]
        up = [branch.low_left, branch.height, branch.height, branch.low_right]
        axes.plot(across, up, color=ink["soft"], linewidth=1.2 * _POINT, clip_on=False)


def _cells(axes: Axes, drawn: Drawing, shades: Colormap, ink: dict[str, str]) -> None:
    shown, places = drawn.shown, range(len(drawn.shown.names))
    axes.imshow(shown.values, cmap=shades, vmin=shown.low, vmax=shown.high, aspect="auto", interpolation="nearest")
    axes.spines[:].set(visible=True, color=ink["line"], linewidth=_POINT)
    names = [drawn.fitted(name) for name in shown.names]
    look: dict[str, Any] = {"fontsize": drawn.font * _POINT, "color": ink["ink"], "parse_math": False}
    axes.set_xticks(places, names, rotation=90, **look)
    axes.set_yticks(places, names, **look)
    if drawn.values:
        for (row, column), value in np.ndenumerate(shown.values):
            colour = ink["on-strong"] if shown.strong(value) else ink["on-weak"]
            said, size = figures.number(value, 2), drawn.values * _POINT
            axes.text(column, row, said, ha="center", va="center", color=colour, fontsize=size)


def _key(axes: Axes, drawn: Drawing, shades: Colormap, ink: dict[str, str]) -> None:
    low, high = drawn.shown.low, drawn.shown.high
    axes.imshow(np.linspace(low, high, 256)[None], cmap=shades, aspect="auto", extent=(low, high, 0, 1))
    places, words = zip(*drawn.shown.ticks)
    axes.set_yticks([])
    axes.set_xticks(places, words, fontsize=10.5 * _POINT, color=ink["soft"])
