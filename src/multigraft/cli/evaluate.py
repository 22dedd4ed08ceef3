"""`multigraft evaluate`: scores of a trained model, or of a text-to-text backbone as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multigraft.cli.common import DataOption, JsonOption, print_json

if TYPE_CHECKING:
    from multigraft.evaluation.templated import Asking


def command(
    model: Annotated[
        str, typer.Argument(help="Folder that train wrote, or a text-to-text backbone: hub id or folder.")
    ],
    suite: Annotated[
        str | None, typer.Option(help="Suite to read the rows from; default: where the model's tasks were read.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split to score.")] = "validation",
    task: Annotated[list[str] | None, typer.Option(help="Only this task; repeatable.")] = None,
    examples: Annotated[int | None, typer.Option(min=1, help="At most this many rows of each task.")] = None,
    template: Annotated[
        str, typer.Option("--template", "--templates", help="Wording for a backbone: all, or a template's name.")
    ] = "all",
    norm: Annotated[
        str, typer.Option(help="What options are ranked by: sum, tokens, bytes (log-probability), unconditional.")
    ] = "sum",
    shots: Annotated[int, typer.Option(min=0, help="Solved examples before each question.")] = 0,
    beams: Annotated[int, typer.Option(min=1, help="Of generated texts.")] = 1,
    max_input: Annotated[int, typer.Option(min=1, help="Tokens of an input; longer ones are cut.")] = 512,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a target.")] = 64,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Ask again what was asked before.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score each task on a split, with 95 % intervals and trivial baselines beside it.

    A trained model answers with its heads. A text-to-text backbone is asked in words: every example in every
    template, and the answer is the option that it finds most likely, or what it writes. What the same weights
    answered before is kept in $MULTIGRAFT_HOME/scores (by default in ~/.cache/multigraft), and not asked again.
    """
    from typing import get_args

    from multigraft.cli.common import point_to_data
    from multigraft.errors import UserError, unknown

    point_to_data(data)
    from multigraft.library.text_folder import trained_folder

    if Path(model).exists() and not (Path(model) / "config.json").exists() and trained_folder(model) is None:
        _score_heads(Path(model), suite, split, task, examples, as_json)
        return
    from multigraft.evaluation.ranking import Norm
    from multigraft.evaluation.templated import Asking

    if norm not in get_args(Norm):
        raise unknown("norm", norm, get_args(Norm), where="--norm")
    if suite is None:
        raise UserError("no suite to ask a backbone about", where=model, fix="add --suite, as in --suite starter")
    asking = Asking(norm=norm, shots=shots, beams=beams, max_tokens=max_tokens)  # type: ignore[arg-type]
    _score_in_words(model, suite, split, task, examples, template, asking, max_input, not no_cache, as_json)


def _score_heads(
    model: Path, suite: str | None, split: str, task: list[str] | None, examples: int | None, as_json: bool
) -> None:
    from multigraft.evaluation.report import score_model

    found = score_model(model, suite, split, task, examples)
    if as_json:
        print_json([entry._asdict() for entry in found])
        return
    average = sum(entry.score for entry in found) / len(found)
    rows = [
        [
            entry.task,
            entry.metric,
            str(entry.rows),
            _figure(entry.score),
            _range(entry.interval),
            _figure(entry.majority),
        ]
        for entry in found
    ]
    columns = ["task", "metric", "rows", "score", "95 %", "majority"]
    _print(f"Scores on {split}, average {average:.1f}", columns, rows)


def _score_in_words(
    model: str,
    suite: str,
    split: str,
    task: list[str] | None,
    examples: int | None,
    template: str,
    asking: Asking,
    max_input: int,
    cached: bool,
    as_json: bool,
) -> None:
    from rich.console import Console

    from multigraft.evaluation.cache import Cache
    from multigraft.evaluation.text_report import score_suite, text_model
    from multigraft.files import home
    from multigraft.tasks.suite import load_suite

    chosen = load_suite(suite)
    if task is not None:
        chosen = chosen.subset(task)
    with Console(stderr=True).status("loading") as status:
        backbone = text_model(model)
        found = score_suite(
            backbone, 0, chosen, template, split, examples, asking, max_input=max_input,
            cache=Cache(home() / "scores") if cached else None, announce=status.update,
        )  # fmt: skip
    if as_json:
        print_json([entry.model_dump(mode="json") for entry in found])
        return
    rows = [
        [entry.task, entry.metric, str(entry.rows), _figure(entry.mean), _range(entry.interval), _figure(entry.best),
         _figure(entry.chance),
         _figure(entry.majority)]
        for entry in found
    ]  # fmt: skip
    average = sum(entry.mean for entry in found) / len(found)
    columns = ["task", "metric", "rows", "mean", "95 %", "best", "chance", "majority"]
    _print(f"{model} in words on {split}, {asking.shots} shots, average {average:.1f}", columns, rows)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _range(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.1f} to {interval[1]:.1f}"


def _print(title: str, columns: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column in ("task", "metric") else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
