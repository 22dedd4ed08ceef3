"""What may be said of two ways of sharing: never more than the interval of their difference shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from multigraft.reports import figures
from multigraft.reports.figures import finite, listing
from multigraft.strategies.results import Difference, Estimate, Results, Row

LEVEL = 0.05  # of significance
Verdict = Literal["higher", "lower", "same", "untested"]


@dataclass(frozen=True)
class Finding:
    """One question, the short answer of the data, and what stands behind it."""

    title: str
    answer: str
    text: str


def names(results: Results) -> dict[str, str]:
    """A name for every row id that no other row has: its label, with the schedule or the id where labels repeat."""
    labels = [row.label for row in results.rows]
    scheduled = [f"{row.label} ({row.schedule})" for row in results.rows]
    found = {}
    for row, label, longer in zip(results.rows, labels, scheduled, strict=True):
        unique = label if labels.count(label) == 1 else longer
        found[row.id] = unique if unique == label or scheduled.count(longer) == 1 else f"{label} ({row.id})"
    return found


def best(results: Results) -> Row | None:
    """The way to answer with the highest average; the first of equals; None where none has one."""
    rows = [row for row in results.rows if finite(row.average.mean) and not row.bound]
    return max(rows, key=lambda row: row.average.mean, default=None)


def first(results: Results, strategy: str) -> Row | None:
    """The first row of `strategy`, which the others are held against."""
    return next((row for row in results.rows if row.strategy == strategy), None)


def difference(results: Results, a: str, b: str) -> Difference | None:
    """The paired comparison of the rows with ids `a` and `b`, as a - b, whichever way it was recorded."""
    for found in results.differences:
        if (found.a, found.b) == (a, b):
            return found
        if (found.a, found.b) == (b, a):
            low, high = found.interval
            return found.model_copy(update={"a": a, "b": b, "difference": -found.difference, "interval": (-high, -low)})
    return None


def verdict(found: Difference | None) -> Verdict:
    """How a compares with b: `same` when p, adjusted for the number of comparisons, is 0.05 or more."""
    if found is None or not finite(found.difference):
        return "untested"
    if found.holm >= LEVEL:
        return "same"
    return "higher" if found.difference > 0 else "lower"


def side(interval: tuple[float, float] | None) -> Verdict:
    """On which side of 0 the whole interval of a difference lies; `same` when it contains 0."""
    if interval is None or not all(map(finite, interval)):
        return "untested"
    low, high = interval
    return "higher" if low > 0 else "lower" if high < 0 else "same"


def below_best(results: Results, row: Row) -> Verdict:
    """How the average of `row` compares with the best one; the best row itself is the `same`."""
    top = best(results)
    if top is None or row.id == top.id:
        return "same"
    return verdict(difference(results, row.id, top.id))


Compared = dict[Verdict, list[str]]


def compared(results: Results, pivot: Row, rows: tuple[Row, ...]) -> Compared:
    """Names of `rows` by how their average compares with that of `pivot`, differences that count included."""
    found: Compared = {"higher": [], "lower": [], "same": [], "untested": []}
    for row in rows:
        if row.id != pivot.id:
            pair = difference(results, row.id, pivot.id)
            said = verdict(pair)
            by = f" ({figures.signed(pair.difference)})" if pair and said in ("higher", "lower") else ""
            found[said].append(names(results)[row.id] + by)
    return found


def counted(found: Compared) -> str:
    """How many rows compare in which way, as a short answer."""
    counts = (
        (len(found["higher"]), "significantly above"),
        (len(found["lower"]), "significantly below"),
        (len(found["same"]), "not significantly different"),
        (len(found["untested"]), "not compared"),
    )
    return ", ".join(f"{count} {relation}" for count, relation in counts if count)


def listed(found: Compared) -> str:
    """Which rows compare in which way, as sentences."""
    said = (
        ("Significantly above it", found["higher"]),
        ("Significantly below it", found["lower"]),
        ("Not significantly different", found["same"]),
        ("Not compared with it", found["untested"]),
    )
    return " ".join(f"{relation}: {listing(rows)}." for relation, rows in said if rows)


def above(value: Estimate, bar: float) -> bool:
    """Whether the whole interval lies above `bar`."""
    return value.interval is not None and value.interval[0] > bar


def overlapping(a: Estimate, b: Estimate) -> bool | None:
    """Whether two 95 % intervals, each by itself, overlap; None without intervals."""
    if a.interval is None or b.interval is None:
        return None
    return a.interval[0] <= b.interval[1] and b.interval[0] <= a.interval[1]
