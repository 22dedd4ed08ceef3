"""Answers from a study of instruction tuning, as Markdown: `python bench/flan.py RESULTS.json`."""

from __future__ import annotations

import sys
from pathlib import Path

from questions import Pair, answers

from multigraft.reports import figures, tables
from multigraft.strategies.results import Results

ALL, UNTUNED = "instruction tuning", "untuned"
CLUSTERS = [f"{ALL}, 1 cluster", f"{ALL}, 2 clusters", f"{ALL}, 4 clusters", f"{ALL}, 8 clusters", ALL]
QUESTIONS: dict[str, list[Pair]] = {
    "Does instruction tuning help on clusters that were never seen?": [
        (ALL, UNTUNED),
        (f"{ALL}, one model for each cluster", UNTUNED),
        (f"{ALL}, lora", UNTUNED),
    ],
    "Do more tuning clusters help?": [(CLUSTERS[0], UNTUNED), *zip(CLUSTERS[1:], CLUSTERS, strict=False)],
    "What do the instructions do?": [
        (ALL, f"{ALL}, no template"),
        (ALL, f"{ALL}, task name"),
        (ALL, f"{ALL}, task name, asked with task name"),
        (f"{ALL}, no options", f"{UNTUNED}, no options"),
    ],
    "Do more wordings of each task help?": [
        (f"{ALL}, 4 templates", f"{ALL}, 1 template"),
        (ALL, f"{ALL}, 4 templates"),
    ],
    "Do exemplars help?": [
        (f"{UNTUNED}, 4 shots", UNTUNED),
        (f"{ALL}, 4 shots", ALL),
        (f"{ALL}, 4 training shots, 4 shots", f"{ALL}, 4 shots"),
    ],
}


def main(path: str) -> None:
    """Print the scoreboard, the scores by cluster, and the differences that the questions are about."""
    results = Results.model_validate_json(Path(path).read_text())
    rows = {row.label: row for row in results.rows}
    print(tables.plain(results))
    print(tables.plain_clusters(results))
    answers(results, rows, QUESTIONS)
    print(
        "\nWordings: scores of single templates, the lowest to the highest, and of the one that is best on dev rows\n"
    )
    print("| task | chance | untuned | tuned | best on dev, tuned |\n|---|---|---|---|---|")
    chance = {task.name: task.chance for task in results.tasks}
    for task, tuned in rows[ALL].wordings.items():
        plain = rows[UNTUNED].wordings[task]
        ranges = [f"{min(w.by_template.values()):.1f} to {max(w.by_template.values()):.1f}" for w in (plain, tuned)]
        print(f"| {task} | {chance[task]:.1f} | {ranges[0]} | {ranges[1]} | {figures.number(tuned.best)} |")
    print("\nRows that a training text gives away (13 words in a row)\n")
    print("| task | rows | overlapping | all rows | clean rows | difference | 95 % |\n|---|---|---|---|---|---|---|")
    for task, clean in rows[ALL].clean.items():
        if clean.interval is None or not clean.overlapping:
            continue
        low, high = clean.interval
        scores = f"{clean.full:.1f} | {clean.clean:.1f} | {clean.difference:+.1f} | {low:+.1f} to {high:+.1f}"
        print(f"| {task} | {clean.rows} | {clean.overlapping} | {scores} |")


if __name__ == "__main__":
    main(sys.argv[1])
