"""`multigraft train`: one way of sharing, trained and scored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multigraft.cli.common import DataOption, JsonOption, SetOption, keeping, print_json


def command(
    recipe: Annotated[Path, typer.Argument(help="YAML file with the recipe.")],
    output: Annotated[Path, typer.Option(help="Folder for the model, checkpoints, logs and scores.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")] = False,
    overrides: SetOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train what RECIPE says and write the model, its scores and its ledger to a folder."""
    from rich.console import Console

    from multigraft.cli.common import apply_overrides, point_to_data
    from multigraft.errors import UserError
    from multigraft.files import write_json
    from multigraft.settings import build, read_yaml
    from multigraft.strategies.recipe import Recipe, read_recipe

    point_to_data(data)
    settings = build(Recipe, apply_overrides(read_recipe(recipe), overrides), recipe)
    record, kept = settings.model_dump(mode="json"), output / "recipe.json"
    # What a crash while writing recipe.json leaves behind is not a run yet.
    if output.exists() and any(not path.name.endswith(".tmp") for path in output.iterdir()):
        if not resume:
            raise UserError("the folder is not empty", where=output, fix="add --resume, or name a new folder")
        if not kept.exists() or read_yaml(kept) != record:
            raise UserError("the folder holds no run of this recipe", where=output, fix="name a new folder")

    from accelerate import Accelerator

    from multigraft.strategies.data import check, load_data
    from multigraft.strategies.multitask import run

    rows = load_data(settings)
    check(settings, rows)
    accelerator = Accelerator()
    accelerator.wait_for_everyone()  # until every process has seen the folder as it was
    if accelerator.is_main_process:
        write_json(kept, record)
    with keeping(f"the last checkpoint is kept in {output}; add --resume to go on from there"):
        result = run(settings, rows, output, quiet=as_json)
    if not accelerator.is_main_process:
        return
    if as_json:
        print_json(result.model_dump(mode="json"))
        return
    _show(Console(), result, {task.name: task.metric for task in rows.tasks}, settings.score_on)
    where = "one folder per task" if settings.separate else "the model"
    print(f"In {output}: {where}, log.jsonl, result/result.json")


def _show(console, result, metrics: dict[str, str], split: str) -> None:  # type: ignore[no-untyped-def]
    """Scores and ledger as one table."""
    from rich.table import Table

    table = Table(title=f"Scores on {split}, average {sum(result.scores.values()) / len(result.scores):.1f}")
    for column in ("task", "metric", "score", "planned", "drawn", "passes", "padding", "cut"):
        table.add_column(column, justify="left" if column in ("task", "metric") else "right")
    for name, score in result.scores.items():
        entry = result.ledger[name]
        table.add_row(
            name,
            metrics[name],
            f"{score:.1f}",
            f"{100 * entry['planned']:.1f} %",
            f"{entry['drawn']:.0f}",
            f"{entry['passes']:.2f}",
            f"{100 * entry['padding']:.1f} %",
            f"{100 * entry['truncated']:.1f} %",
        )
    console.print(table)
