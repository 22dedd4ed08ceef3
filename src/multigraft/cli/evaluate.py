"""`multigraft evaluate`: scores of a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multigraft.cli.common import DataOption, JsonOption, print_json


def command(
    model: Annotated[Path, typer.Argument(help="Folder that train wrote, or the model folder in it.")],
    suite: Annotated[
        str | None, typer.Option(help="Suite to read the rows from; default: where the model's tasks were read.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split to score.")] = "validation",
    task: Annotated[list[str] | None, typer.Option(help="Only this task; repeatable.")] = None,
    examples: Annotated[int | None, typer.Option(min=1, help="At most this many rows of each task.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score each task of a model on a split, with 95 % intervals and the majority baseline beside it."""
    from rich.console import Console
    from rich.table import Table

    from multigraft.cli.common import point_to_data
    from multigraft.evaluation.report import score_model

    point_to_data(data)
    found = score_model(model, suite, split, task, examples)
    if as_json:
        print_json([entry._asdict() for entry in found])
        return
    table = Table(title=f"Scores on {split}, average {sum(entry.score for entry in found) / len(found):.1f}")
    for column in ("task", "metric", "rows", "score", "95 %", "majority"):
        table.add_column(column, justify="left" if column in ("task", "metric") else "right")
    for entry in found:
        low, high = entry.interval
        cells = (f"{entry.score:.1f}", f"{low:.1f} to {high:.1f}", f"{entry.majority:.1f}")
        table.add_row(entry.task, entry.metric, str(entry.rows), *cells)
    Console().print(table)
