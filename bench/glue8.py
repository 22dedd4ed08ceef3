"""Answers from a GLUE study, as Markdown: `python bench/glue8.py RESULTS.json`."""

from __future__ import annotations

import sys
from pathlib import Path

from questions import Pair, answers

from multigraft.reports import tables
from multigraft.strategies.results import Results, Row

METHODS = ("pal", "low_rank", "adapter", "lhuc", "top_layer", "top_attention")
SHARED = "heads_only annealed"
QUESTIONS: dict[str, list[Pair]] = {
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
    answers(results, rows, QUESTIONS)
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


if __name__ == "__main__":
    main(sys.argv[1])
