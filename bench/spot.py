"""Answers from a study of prompt transfer, as Markdown: `python bench/spot.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from multigraft.evaluation.judge import Figures, Judgement, judge
from multigraft.evaluation.transfer_matrix import read_matrix, read_predicted
from multigraft.reports import figures, tables
from multigraft.strategies.prompt_runs import WATCHED
from multigraft.strategies.results import Results

FOLDER = Path(__file__).parent / "results" / "spot"
KS = (1, 3)


def judged(folder: Path) -> dict[str, Judgement]:
    """Every predictor of a matrix, and all of them together by their average standardised prediction.

    Those together need no run from a source to the target, as the scores of such runs on rows to choose by do.
    """
    matrix = read_matrix(folder / "matrix.csv")
    predicted = {
        path.stem.removeprefix("predicted_"): read_predicted(path, matrix)
        for path in sorted(folder.glob("predicted_*.csv"))
    }
    together = [
        (one - one.mean(axis=0)) / (one.std(axis=0) + 1e-12) for name, one in predicted.items() if name not in WATCHED
    ]
    predicted["all together"] = np.mean(together, axis=0)
    return {name: judge(matrix, one, ks=[*KS]) for name, one in predicted.items()}


def table(found: dict[str, Judgement]) -> str:
    """What every way to choose sources comes to."""
    first = next(iter(found.values()))
    lines = ["| sources | score | gain | 95 % | error gone |", "|---|---:|---:|---|---:|"]
    rows: list[tuple[str, Figures | None]] = [
        ("no transfer", first.no_transfer),
        ("mean over sources", first.mean_of_sources),
        (f"always {first.best_single_source.source}, chosen on all targets", first.best_single_source.figures),
        ("always the best over the other targets", first.best_single_source_left_out),
        ("best source of each target (oracle)", first.oracle),
    ]
    for place, k in enumerate(KS):
        rows.append((f"best of {k} random", first.best_of[place].random))
        rows.append((f"the {k} best over the other targets", first.best_of[place].fixed))
        rows += [(f"best of {k} by {name}", one.best_of[place].predicted) for name, one in found.items()]
    lines += [_line(name, row) for name, row in rows if row is not None]
    return "\n".join(lines)


def beaten(found: dict[str, Judgement]) -> str:
    """Does a predictor beat k random sources, and the same k sources for every target?"""
    lines = ["| predictor | k | over random | 95 % | over the same for all | 95 % |", "|---|---:|---:|---|---:|---|"]
    for name, one in found.items():
        for best in one.best_of:
            cells = []
            for over in (best.over_random, best.over_fixed):
                known = over is not None
                cells += (
                    [figures.signed(over.difference, 2), figures.interval(over.interval, 2)] if known else ["–", "–"]
                )
            lines.append(f"| {name} | {best.k} | {' | '.join(cells)} |")
    return "\n".join(lines)


def correlations(found: dict[str, Judgement]) -> str:
    """Spearman's correlation of predictions with scores, by target, with p below 0.05 marked."""
    targets = [one.target for one in next(iter(found.values())).targets]
    lines = [f"| predictor | {' | '.join(targets)} |", f"|---|{'---:|' * len(targets)}"]
    for name, one in found.items():
        cells = [
            "–" if t.spearman is None else f"{figures.number(t.spearman, 2)}{'*' * ((t.spearman_p or 1) < 0.05)}"
            for t in one.targets
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _line(name: str, row: Figures) -> str:
    relative = "–" if row.relative is None else f"{figures.signed(row.relative)} %"
    interval = figures.interval(row.interval, 2) or "–"
    return f"| {name} | {row.score:.2f} | {figures.signed(row.gain, 2)} | {interval} | {relative} |"


def main() -> None:
    """Print what each backbone's matrix says, and the comparisons."""
    for folder in sorted(path.parent for path in FOLDER.glob("*/matrix.csv")):
        found = judged(folder)
        first = next(iter(found.values()))
        print(f"\n## {folder.name}\n")
        print(f"{len(first.sources)} sources, {len(first.targets)} targets, {first.seeds} seeds; "
              f"{first.negative_cells} of {first.cells} cells are below no transfer.\n")  # fmt: skip
        print("\n\n".join([table(found), beaten(found), correlations(found)]))
    for path in sorted(FOLDER.glob("*/results.json")):
        print(f"\n## {path.parent.name}\n")
        print(tables.plain(Results.model_validate_json(path.read_text())))


if __name__ == "__main__":
    main()
