"""`multigraft compare`: several ways of sharing on equal terms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multigraft.cli.common import DataOption, JsonOption, SetOption, keeping, print_json


def command(
    recipe: Annotated[Path, typer.Argument(help="YAML file with the rows to compare.")],
    output: Annotated[Path | None, typer.Option(help="Folder for runs and results; default runs/RECIPE.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds, from 0; default: the recipe's.")] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Run every row on each of these backbones.")
    ] = None,
    overrides: SetOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train and score every row of RECIPE with every seed; write results.json and report.html.

    Runs that are finished in the output folder are not repeated, and one that was stopped goes on where it was.
    """
    from rich.console import Console

    from multigraft.cli.common import apply_overrides, point_to_data
    from multigraft.settings import build
    from multigraft.strategies.comparison import on_backbones, read_recipe
    from multigraft.strategies.strategy import strategy_of

    point_to_data(data)
    values = apply_overrides(read_recipe(recipe), overrides)
    if seeds is not None:
        values["seeds"] = list(range(seeds))
    if backbone is not None:
        values = on_backbones(values, [name.strip() for name in backbone.split(",")])
    settings = build(strategy_of(values, recipe).comparison, values, recipe)
    settings.resolved(recipe)
    folder = output or Path("runs") / recipe.stem
    console = Console(stderr=True)

    from accelerate import Accelerator

    from multigraft.reports import html, tables
    from multigraft.strategies.compare import compare

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False)

    with keeping(f"finished runs and checkpoints are kept in {folder}; the same command goes on from there"):
        results = compare(settings, folder, announce=say, quiet=as_json)
    if not Accelerator().is_main_process:
        return
    page = folder / "report.html"
    html.write(results, page)
    if as_json:
        print_json(results.model_dump(mode="json"))
    else:
        tables.show(results, Console())
        say(f"The page: {page}")
