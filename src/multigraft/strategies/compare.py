"""The comparison: every row of a recipe with every seed, on equal terms, and what can be said of the differences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator

from multigraft.files import write_json
from multigraft.strategies.comparison import Comparison, RunRecipe
from multigraft.strategies.record import record
from multigraft.strategies.results import Results
from multigraft.strategies.runs import claimed, finished
from multigraft.strategies.strategy import STRATEGIES

Announce = Callable[[str], None]


def compare(
    recipe: Comparison,
    folder: Path,
    *,
    root: Path | None = None,
    announce: Announce = lambda line: None,
    quiet: bool = False,
) -> Results:
    """Run what is not finished in `folder` yet, and write `folder/results.json`.

    Rows share the data and the seeds, and the number of rows drawn where they do not say otherwise. Runs are kept
    under `folder/runs/KEY/seed-N`; two processes may work on different seeds of one folder at the same time.
    What runs have in common, such as experts, is kept in `root`, by default the same folder. `announce` is told of
    every run. Raises UserError for a row that cannot be run, before the first run starts.
    """
    rows = recipe.resolved()
    before = _results_of(recipe, folder)
    if before is not None:
        return before
    strategy = STRATEGIES.get(recipe.strategy)(root or folder)
    places = {(row.key(), seed): run_folder(folder, row, seed) for _, row in rows for seed in seeds_of(recipe, row)}
    todo = [
        (label, row, seed)
        for seed in recipe.seeds
        for label, row in rows
        if seed in seeds_of(recipe, row) and finished(places[row.key(), seed]) is None
    ]
    for _, row in rows:
        strategy.check(row)
    for number, (label, row, seed) in enumerate(todo, 1):
        announce(f"run {number} of {len(todo)}: {label}, seed {seed}")
        with claimed(places[row.key(), seed]) as place:
            strategy.run(row.model_copy(update={"seed": seed}), place, quiet=quiet)
    runs = [(label, row, [places[row.key(), seed] for seed in seeds_of(recipe, row)]) for label, row in rows]
    results = record(recipe, strategy, runs)
    if Accelerator().is_main_process:
        write_json(folder / "results.json", results.model_dump(mode="json"))
    return results


def seeds_of(recipe: Comparison, row: RunRecipe) -> tuple[int, ...]:
    """The seeds to run a row with: one where all give the same."""
    return recipe.seeds if row.seeded else recipe.seeds[:1]


def run_folder(folder: Path, row: RunRecipe, seed: int) -> Path:
    """Where the run of a row with a seed is kept."""
    return folder / "runs" / row.key() / f"seed-{seed}"


def _results_of(recipe: Comparison, folder: Path) -> Results | None:
    """The results in `folder` if they are of this recipe and whole; others are written anew from the runs."""
    path = folder / "results.json"
    try:
        results = Results.model_validate_json(path.read_bytes()) if path.exists() else None
    except ValueError:
        return None
    return results if results is not None and results.settings == recipe.model_dump(mode="json") else None
