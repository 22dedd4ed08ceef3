"""How figures are written, the same in every table, sentence and plot; what is not a number becomes a dash."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeGuard

from multigraft.strategies.results import Estimate

NONE = "–"


def finite(value: float | None) -> TypeGuard[float]:
    """Whether there is a value that can be shown."""
    return value is not None and math.isfinite(value)


def measured(cost: float | None) -> TypeGuard[float]:
    """Whether a time or an amount of memory is known; what costs nothing was not done, or not measured."""
    return finite(cost) and cost > 0


def number(value: float | None, decimals: int = 1, unit: str = "") -> str:
    """`value` with fixed decimals, thousands separators and a true minus sign."""
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{value:,.{decimals}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", "−") + unit


def signed(value: float | None, decimals: int = 1) -> str:
    """A difference in points, with its sign."""
    text = number(value, decimals)
    return text if text == NONE or text.startswith("−") else f"+{text}"


def share(value: float | None) -> str:
    """A share of one, in per cent."""
    return number(value * 100 if value is not None else None, 1, " %")


def interval(bounds: tuple[float, float] | None, decimals: int = 1) -> str:
    """`[low, high]`, or nothing where there is no interval."""
    if bounds is None or not all(map(math.isfinite, bounds)):
        return ""
    return f"[{number(bounds[0], decimals)}, {number(bounds[1], decimals)}]"


def spread(estimate: Estimate) -> str:
    """`± standard error`, or nothing with one seed."""
    return f"± {number(estimate.stderr)}" if finite(estimate.stderr) else ""


def ends(values: Iterable[Estimate]) -> list[float]:
    """Means and ends of intervals: what a scale has to hold."""
    return [place for value in values for place in (value.mean, *(value.interval or ()))]


def p_value(p: float) -> str:
    """Three decimals, or that it is below them."""
    return "< 0.001" if p < 0.001 else number(p, 3)


def estimate(value: Estimate) -> str:
    """Mean, standard error and interval, as far as they exist."""
    return " ".join(part for part in (number(value.mean), spread(value), interval(value.interval)) if part)


def times(value: float | None) -> str:
    """A ratio; close to one it gets the decimals that tell it from one."""
    close = value is not None and 0 < abs(value - 1) < 0.005
    return number(value, 4 if close else 2, "×")


def duration(seconds: float | None) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 99.5:
        return number(seconds, 1 if seconds < 9.95 else 0, " s")
    return number(seconds / 60, 1, " min") if seconds < 5970 else number(seconds / 3600, 1, " h")


def memory(megabytes: float | None) -> str:
    """Megabytes or gigabytes."""
    if megabytes is None or not math.isfinite(megabytes):
        return NONE
    return number(megabytes, 0, " MB") if megabytes < 999.5 else number(megabytes / 1000, 1, " GB")


def milliseconds(value: float | None) -> str:
    """A short time, with about three digits."""
    return number(value, 0 if value is not None and value >= 99.5 else 1)


def listing(items: Sequence[str]) -> str:
    """`a, b and c`; with semicolons where an item has a comma itself."""
    separator = "; " if any("," in item for item in items) else ", "
    return " and ".join(part for part in (separator.join(items[:-1]), *items[-1:]) if part)
