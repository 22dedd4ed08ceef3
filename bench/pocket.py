"""What experts on the embedded text-to-text backbone reach, as Markdown: `python bench/pocket.py`."""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "pocket"


def main() -> None:
    """Print a table of the kept scores."""
    columns = ["task", "rows", "chance", "majority", "untuned", "LoRA expert", "95 %", "single templates"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for task in ("sst2", "ag_news"):
        tuned, untuned = (json.loads((RESULTS / f"{task}{tail}.json").read_text())[0] for tail in ("", "-untuned"))
        low, high = tuned["interval"]
        spread = sorted(tuned["by_template"].values())
        figures = [f"{value:.1f}" for value in (tuned["chance"], tuned["majority"], untuned["mean"], tuned["mean"])]
        ranges = [f"{low:.1f} to {high:.1f}", f"{spread[0]:.1f} to {spread[-1]:.1f}"]
        print(f"| {' | '.join([task, str(tuned['rows']), *figures, *ranges])} |")


if __name__ == "__main__":
    main()
