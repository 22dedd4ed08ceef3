"""`multigraft train`: one way of sharing, trained and scored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multigraft.cli.common import DataOption, JsonOption, SetOption, keeping, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from multigraft.strategies.runs import RunResult


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
    from multigraft.strategies.comparison import read_recipe
    from multigraft.strategies.strategy import strategy_of

    point_to_data(data)
    values = apply_overrides(read_recipe(recipe), overrides)
    strategy = strategy_of(values, recipe)
    settings = build(strategy.recipe, values, recipe)
    record, kept = settings.model_dump(mode="json"), output / "recipe.json"
    # What a crash while writing recipe.json leaves behind is not a run yet.
    if output.exists() and any(not path.name.endswith(".tmp") for path in output.iterdir()):
        if not resume:
            raise UserError("the folder is not empty", where=output, fix="add --resume, or name a new folder")
        if not kept.exists() or read_yaml(kept) != record:
            raise UserError("the folder holds no run of this recipe", where=output, fix="name a new folder")

    from accelerate import Accelerator

    way = strategy(output, alone=True)
    way.check(settings)
    accelerator = Accelerator()
    accelerator.wait_for_everyone()  # until every process has seen the folder as it was
    if accelerator.is_main_process:
        write_json(kept, record)
    with keeping(f"the last checkpoint is kept in {output}; add --resume to go on from there"):
        result = way.run(settings, output, quiet=as_json)
    if not accelerator.is_main_process:
        return
    if as_json:
        print_json(result.model_dump(mode="json"))
        return
    _show(Console(), result, settings.score_on)
    models = sorted(str(place.relative_to(output)) for place in output.rglob("model"))
    print(f"In {output}: {', '.join(models)}; scores in result/result.json")


def _show(console: Console, result: RunResult, split: str) -> None:
    """Scores and ledger as one table: tasks that were trained on, scored, or both."""
    from rich.table import Table

    from multigraft.evaluation.metrics import average

    title = f"Scores on {split}, average {average(result.scores):.1f}" if result.scores else "What was trained on"
    table = Table(title=title)
    for column in ("task", "score", "planned", "drawn", "passes", "padding", "cut"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for name in dict.fromkeys([*result.scores, *result.ledger]):
        entry = result.ledger.get(name)
        table.add_row(
            name,
            f"{result.scores[name]:.1f}" if name in result.scores else "",
            *(
                (
                    f"{100 * entry['planned']:.1f} %",
                    f"{entry['drawn']:.0f}",
                    f"{entry['passes']:.2f}",
                    f"{100 * entry['padding']:.1f} %",
                    f"{100 * entry['truncated']:.1f} %",
                )
                if entry
                else ()
            ),
        )
    console.print(table)
