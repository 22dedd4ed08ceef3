"""Answers from a GLUE study, as Markdown: `python bench/glue8.py RESULTS.json`.

Differences are paired over rows of data and seeds; p is adjusted for the pairs of a question (Holm).
"""

from __future__ import annotations

import sys
from pathlib import Path

from multigraft.evaluation.statistics import holm
from multigraft.reports import tables
from multigraft.reports.verdicts import difference
from multigraft.strategies.results import Difference, Results, Row

METHODS = ("pal", "low_rank", "adapter", "lhuc", "top_layer", "top_attention")
SHARED = "heads_only annealed"
# Pairs of rows by name, the first minus the second; those that a study lacks are left out.
QUESTIONS: dict[str, list[tuple[str, str]]] = {
    "Does sharing reach the separate models?": [(SHARED, "separate")],
    "Do modules beat the shared encoder, and the separate models?": [
        (f"{method} annealed", other) for method in METHODS for other in (SHARED, "separate")
    ],
    "Which schedule?": [
        (f"{method} annealed", f"{method} {schedule}")
        for method in ("heads_only", "pal")
        for schedule in ("proportional", "square_root", "round_robin", "unimax")
    ],
    "Is low-rank as good as PAL?": [("low_rank annealed", "pal annealed")],
    "What is lost when only the final half is adapted?": [
        (f"{method} final_half annealed", f"{method} annealed") for method in ("pal", "low_rank")
    ],
    "What is lost when the backbone is frozen?": [
        (f"{method} annealed frozen", f"{method} annealed") for method in ("heads_only", *METHODS)
    ],
}


def main(path: str) -> None:
    """Print the scoreboard and the differences that the questions are about."""
    results = Results.model_validate_json(Path(path).read_text())
    print(tables.plain(results))
    rows = {_name(row): row for row in results.rows}
    for question, names in QUESTIONS.items():
        pairs = [(rows[a], rows[b]) for a, b in names if a in rows and b in rows]
        if not pairs:
            continue
        print(f"\n{question}\n\n| | minus | points | 95 % | p (Holm) |\n|---|---|---|---|---|")
        tests = [_difference(results, a, b) for a, b in pairs]
        for (a, b), test, p in zip(pairs, tests, holm([test.p for test in tests]), strict=True):
            low, high = test.interval
            print(f"| {a.label} | {b.label} | {test.difference:+.1f} | {low:+.1f} to {high:+.1f} | {p:.3f} |")
    print("\nSingle tasks, separate models against one shared encoder (means over seeds, per cent):\n")
    print("| task | separate | shared | difference |\n|---|---|---|---|")
    for task, score in rows["separate"].scores.items():
        other = rows[SHARED].scores[task].mean
        print(f"| {task} | {score.mean:.1f} | {other:.1f} | {other - score.mean:+.1f} |")


def _name(row: Row) -> str:
    if row.strategy == "separate":
        return "separate"
    half = " final_half" if "final_half" in row.label else ""
    return f"{row.method or 'heads_only'}{half} {row.schedule}{'' if row.tuned else ' frozen'}"


def _difference(results: Results, a: Row, b: Row) -> Difference:
    found = difference(results, a.id, b.id)
    assert found is not None
    return found


if __name__ == "__main__":
    main(sys.argv[1])
