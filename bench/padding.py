"""Share of padding on the eight GLUE tasks, with the sampler's batches of like lengths. Needs $MULTIGRAFT_DATA."""

from __future__ import annotations

import argparse
import itertools
from typing import get_args

import numpy as np
from common import BENCH, keep
from rich.console import Console
from rich.table import Table

from multigraft.mixing.sampler import Mode, Sampler
from multigraft.mixing.schedule import SCHEDULES, parse
from multigraft.runinfo import machine
from multigraft.strategies.data import load_data
from multigraft.strategies.recipe import Recipe

SUITE = BENCH.parent / "recipes" / "glue8"
ROWS, TOKENS, STEPS, EPOCHS, TARGET = 32, 128, 4000, 10, 0.08


def padding(sampler: Sampler, lengths: list[np.ndarray], *, bucketed: bool) -> float:
    """Share of the positions in the sampler's batches that hold no token; or in batches of random rows instead."""
    rng = np.random.default_rng(0)
    tokens = positions = 0
    for draw in sampler:
        rows = draw.rows if bucketed else [rng.integers(len(lengths[task])) for task in draw.tasks]
        drawn = np.array([lengths[task][row] for task, row in zip(draw.tasks, rows, strict=True)])
        tokens += int(drawn.sum())
        positions += int(drawn.max()) * len(drawn)
    return 1 - tokens / positions


def main() -> None:
    """Measure and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true", help="print the table, keep no results")
    chosen = parser.parse_args()
    training = {"steps": STEPS, "epochs": EPOCHS, "batch_size": ROWS, "max_length": TOKENS}
    recipe = Recipe.model_validate({"suite": str(SUITE), "training": training, "scored_examples": 1})
    lengths = {name: rows.lengths for name, rows in load_data(recipe).train.items()}
    sizes = {name: len(rows) for name, rows in lengths.items()}
    table = Table("batches", "schedule", "padding", "target", "met", "random rows", title="Padding on glue8")
    measures = []
    for mode, schedule in itertools.product(get_args(Mode), SCHEDULES.names()):
        if mode == "parallel" and schedule != SCHEDULES.names()[0]:
            continue  # every task in each step: no schedule is asked

        def share(bucketed: bool, mode: Mode = mode, schedule: str = schedule) -> float:
            steps = STEPS // len(sizes) if mode == "parallel" else STEPS
            rows = {name: row.tolist() for name, row in lengths.items()}
            sampler = Sampler(sizes, rows, parse(schedule), ROWS, steps, EPOCHS, mode, seed=0)
            return padding(sampler, list(lengths.values()), bucketed=bucketed)

        found, random = share(True), share(False)
        # In mode parallel a batch holds rows of every task, whose lengths differ: shown, without a target.
        target = None if mode == "parallel" else TARGET
        met = "–" if target is None else "yes" if found < target else "NO"
        label = "–" if mode == "parallel" else schedule
        table.add_row(mode, label, f"{found:.1%}", "–" if target is None else "< 8 %", met, f"{random:.1%}")
        measures.append({"what": f"padding, {mode}, {label}", "over": "all positions", "ratio": found, "target": target,
                         "met": met, "random_rows": random})  # fmt: skip
    Console(width=120).print(table)
    if not chosen.dry:
        settings = {"suite": "glue8", "rows": ROWS, "tokens": TOKENS, "steps": STEPS, "training_rows": sizes}
        keep("padding", {"title": "Padding", "machine": machine(), "settings": settings, "measures": measures})


if __name__ == "__main__":
    main()
