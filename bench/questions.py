"""What the kept results of a study say about pairs of rows, as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from multigraft.evaluation.statistics import holm
from multigraft.reports.figures import p_value
from multigraft.reports.verdicts import difference
from multigraft.strategies.results import Difference, Results, Row

Pair = tuple[str, str]


def answers(results: Results, rows: Mapping[str, Row], questions: Mapping[str, Sequence[Pair]]) -> None:
    """Print the difference of each pair of rows, the first minus the second; pairs that a study lacks are left out.

    Differences are paired over rows of data and seeds; p is adjusted for the pairs of a question (Holm).
    """
    for question, names in questions.items():
        pairs = [(rows[a], rows[b]) for a, b in names if a in rows and b in rows]
        if not pairs:
            continue
        print(f"\n{question}\n\n| | minus | points | 95 % | p (Holm) |\n|---|---|---|---|---|")
        tests = [_difference(results, a, b) for a, b in pairs]
        for (a, b), test, p in zip(pairs, tests, holm([test.p for test in tests]), strict=True):
            low, high = test.interval
            print(f"| {a.label} | {b.label} | {test.difference:+.1f} | {low:+.1f} to {high:+.1f} | {p_value(p)} |")


def _difference(results: Results, a: Row, b: Row) -> Difference:
    found = difference(results, a.id, b.id)
    assert found is not None
    return found
