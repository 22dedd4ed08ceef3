"""What may be said of two ways of sharing: never more than the interval of their difference shows."""

from __future__ import annotations

from typing import Literal

from multigraft.reports.figures import finite
from multigraft.strategies.results import Difference, Results, Row

Verdict = Literal["higher", "lower", "same", "untested"]


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
    """The row with the highest average; the first of equals; None where no row has one."""
    rows = [row for row in results.rows if finite(row.average.mean)]
    return max(rows, key=lambda row: row.average.mean, default=None)


def difference(results: Results, a: str, b: str) -> Difference | None:
    """The paired comparison of the rows with ids `a` and `b`, as a - b, whichever way it was recorded."""
    for found in results.differences:
        if (found.a, found.b) == (a, b):
            return found
        if (found.a, found.b) == (b, a):
            low, high = found.interval
            return Difference(a=a, b=b, difference=-found.difference, interval=(-high, -low), p=found.p)
    return None


def verdict(found: Difference | None) -> Verdict:
    """How a compares with b: `same` when the 95 % interval contains 0."""
    if found is None or not all(map(finite, found.interval)):
        return "untested"
    low, high = found.interval
    return "higher" if low > 0 else "lower" if high < 0 else "same"


def below_best(results: Results, row: Row) -> Verdict:
    """How the average of `row` compares with the best one; the best row itself is the `same`."""
    top = best(results)
    if top is None or row.id == top.id:
        return "same"
    return verdict(difference(results, row.id, top.id))
