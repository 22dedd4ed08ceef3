"""Just enough SVG: elements, scales and axes, with colours left to the style sheet so that they follow its theme."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from multigraft.reports import figures

# Groups of ways, in reading order, each with a sign that tells it without its colour, and what it is called.
SIGNS = {
    "untuned": ("▼", "untuned"),
    "separate": ("■", "separate"),
    "shared": ("◆", "shared"),
    "module": ("●", "task modules"),
    "prompt": ("✚", "prompts"),
    "transfer": ("⬢", "prompt transfer"),
    "expert": ("★", "experts"),
    "instructions": ("▲", "instructions"),
}


def el(tag: str, *children: object, **attributes: object) -> Markup:
    """An element. Attribute names lose a trailing underscore and turn the others into hyphens; None is left out."""
    written = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _plain(value))
        for name, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), written, Markup("").join(escape(c) for c in children))


def _plain(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def drawing(width: float, height: float, description: str, *children: object, class_: str = "") -> Markup:
    """A whole picture with its text for those who cannot see it."""
    view = f"0 0 {_plain(float(width))} {_plain(float(height))}"
    return el(
        "svg",
        *children,
        class_=class_ or None,
        viewBox=view,
        width=width,
        height=height,
        role="img",
        aria_label=description,
    )


def text(x: float, y: float, words: str, class_: str = "", anchor: str | None = None) -> Markup:
    """Words at a place; `anchor` is start, middle or end."""
    return el("text", words, x=x, y=y, class_=class_ or None, text_anchor=anchor)


def short(words: str, width: float, per_letter: float = 5.9) -> str:
    """`words` cut in the middle to about `width` pixels: names often differ at their ends."""
    room = max(int(width / per_letter), 3)
    head, tail = (room - 1) - (room - 1) // 2, (room - 1) // 2
    return words if len(words) <= room else f"{words[:head].rstrip()}…{words[-tail:].lstrip()}"


@dataclass(frozen=True)
class Scale:
    """Maps values in `low`..`high` to pixels `start`..`end`, evenly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        place = math.log(value) if self.log else value
        return self.start + (place - low) / (high - low) * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values inside the scale, at most `most` of them; powers of ten on a logarithmic scale."""
        if self.log:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            return [10.0**power for power in powers]
        step = next(s for s in _steps((self.high - self.low) / most) if (self.high - self.low) / s <= most)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _steps(rough: float) -> Iterable[float]:
    power = math.floor(math.log10(rough))
    return (factor * 10.0**exponent for exponent in range(power, power + 3) for factor in (1, 2, 5))


def span(values: Iterable[float | None], margin: float = 0.06) -> tuple[float, float]:
    """Lowest and highest of the values that are numbers, with some room around; (0, 1) where there are none."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return 0.0, 1.0
    room = (max(known) - min(known)) * margin or max(abs(known[0]) * margin, 0.5)
    return min(known) - room, max(known) + room


def tick_label(value: float, ticks: Sequence[float]) -> str:
    """A tick's value with the decimals that its neighbours make necessary."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(value) or 1.0
    if value >= 10_000 and value % 1000 == 0:
        return figures.number(value / 1000, 0, "k")
    return figures.number(value, max(0, -math.floor(math.log10(step) + 1e-9)))


def x_axis(scale: Scale, top: float, bottom: float, most: int = 5) -> Markup:
    """Vertical grid lines with their values below."""
    ticks = scale.ticks(most)
    lines = [el("line", x1=scale(t), x2=scale(t), y1=top, y2=bottom, class_="grid") for t in ticks]
    labels = [text(scale(t), bottom + 14, tick_label(t, ticks), "tick", "middle") for t in ticks]
    return Markup("").join([*lines, *labels])


def y_axis(scale: Scale, left: float, right: float, most: int = 4) -> Markup:
    """Horizontal grid lines with their values to the left."""
    ticks = scale.ticks(most)
    lines = [el("line", x1=left, x2=right, y1=scale(t), y2=scale(t), class_="grid") for t in ticks]
    labels = [text(left - 5, scale(t) + 3.5, tick_label(t, ticks), "tick", "end") for t in ticks]
    return Markup("").join([*lines, *labels])


def path(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A line through `points`, in pixels."""
    return el("path", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points), class_=class_) if points else Markup("")


def mark(group: str, x: float, y: float, size: float = 4.5, hollow: bool = False, title: str = "") -> Markup:
    """The sign of a group of ways, as in `SIGNS`; a circle for a group that has none."""
    look = {"class_": "mark hollow" if hollow else "mark"}
    inner = [el("title", title)] if title else []
    if group == "separate":
        return el("rect", *inner, x=x - size, y=y - size, width=2 * size, height=2 * size, **look)
    if group == "shared":
        far = size * 1.3
        d = f"M{x - far:.1f} {y:.1f}l{far:.1f} {far:.1f} {far:.1f} {-far:.1f} {-far:.1f} {-far:.1f}z"
        return el("path", *inner, d=d, **look)
    if group == "prompt":
        arm, half = size * 1.3, size * 0.45
        d = f"M{x - half:.1f} {y - arm:.1f}h{2 * half:.1f}v{arm - half:.1f}h{arm - half:.1f}v{2 * half:.1f}"
        d += f"h{half - arm:.1f}v{arm - half:.1f}h{-2 * half:.1f}v{half - arm:.1f}h{half - arm:.1f}v{-2 * half:.1f}"
        return el("path", *inner, d=f"{d}h{arm - half:.1f}z", **look)
    if group == "transfer":
        far, half = size * 1.15, size * 0.6
        d = f"M{x - far:.1f} {y:.1f}l{far - half:.1f} {-size:.1f}h{2 * half:.1f}l{far - half:.1f} {size:.1f}"
        return el("path", *inner, d=f"{d}l{half - far:.1f} {size:.1f}h{-2 * half:.1f}z", **look)
    if group == "expert":
        radii = [size * (1.5 if i % 2 == 0 else 0.62) for i in range(10)]
        ends = [(x + r * math.sin(i * math.pi / 5), y - r * math.cos(i * math.pi / 5)) for i, r in enumerate(radii)]
        return el("path", *inner, d=f"M{'L'.join(f'{a:.1f} {b:.1f}' for a, b in ends)}z", **look)
    if group in ("instructions", "untuned"):
        half, up = size * 1.2, size if group == "instructions" else -size
        d = f"M{x - half:.1f} {y + 0.9 * up:.1f}h{2 * half:.1f}L{x:.1f} {y - 1.2 * up:.1f}z"
        return el("path", *inner, d=d, **look)
    return el("circle", *inner, cx=x, cy=y, r=size, **look)


def spaced(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The given increasing places, moved to lie `gap` apart within `low`..`high`, as far as they fit."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap if moved else low))
    limit = high
    for index in range(len(moved) - 1, -1, -1):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - gap
    return moved
