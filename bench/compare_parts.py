"""One comparison of all ways over the same ways run alone, each in a folder and a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import Measure, finish, options

from multigraft.files import write_text
from multigraft.settings import read_yaml

TASKS = ("reviews", "app_feedback", "headlines", "question_type", "entailment", "stars")
STEPS = 6
WHOLE, PARTS = "all ways in one comparison", "the sum of the ways alone"


def run(*arguments: object) -> float:
    """Seconds of a command."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "multigraft", "compare", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin


def shortened(recipe: dict[str, object], rows: list[dict[str, object]]) -> str:
    """The recipe with some of its rows, a few steps of each task, and the same for every machine."""
    import yaml

    for row in rows:
        together = row["strategy"] in ("multitask", "instruction_tuning")
        row["training"] = {**row["training"], "steps": STEPS * (len(TASKS) if together else 1)}  # type: ignore[dict-item]
    return yaml.safe_dump({**recipe, "scored_examples": 50, "rows": rows}, sort_keys=False)


def main() -> None:
    """Measure and keep the results; one round takes some minutes, whatever --seconds says."""
    chosen = options(__doc__ or "")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run("starter", "--budget", "1h", "--plan", "--output", folder, *(f"--task={name}" for name in TASKS))
        recipe = read_yaml(folder / "plan.yaml")["recipe"]
        alone = {}
        for number, row in enumerate(recipe["rows"]):
            path = folder / f"{number}.yaml"
            write_text(path, shortened(recipe, [row]))
            alone[row["label"]] = run(path, "--output", folder / f"alone-{number}")
            print(f"{row['label']}: {alone[row['label']]:.1f} s", flush=True)
        write_text(folder / "all.yaml", shortened(recipe, recipe["rows"]))
        whole = run(folder / "all.yaml", "--output", folder / "whole")
    parts = sum(alone.values())
    ratio = whole / parts
    measures = [Measure(WHOLE, PARTS, ratio, ratio, ratio, 0.7, whole * 1e3, parts * 1e3, 1)]
    settings = {"suite": "starter", "tasks": list(TASKS), "steps": STEPS, "scored": 50,
                "alone": {name: round(seconds, 1) for name, seconds in alone.items()}}  # fmt: skip
    finish("compare_parts", "A comparison as a whole", measures, chosen, settings=settings)


if __name__ == "__main__":
    main()
