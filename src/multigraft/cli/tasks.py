"""`multigraft tasks`: what is in a suite, whether every row of it can be used, and a suite from plain tables."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multigraft.cli.common import BAD_INPUT, JsonOption, print_json

if TYPE_CHECKING:
    from multigraft.tasks.inspect import SplitReport, TaskReport
    from multigraft.tasks.outputs import Example
    from multigraft.tasks.suite import Suite
    from multigraft.tasks.table_task import Inferred
    from multigraft.tasks.task import Task

app = typer.Typer(help="Check, list and show the tasks of a suite, or make one of plain tables.", no_args_is_help=True)

Place = Annotated[
    str,
    typer.Argument(
        metavar="PATH",
        help="Folder with suite.yaml, index.json or task.yaml, of BIG-bench or Super-NaturalInstructions tasks, "
        "or an embedded suite: starter.",
    ),
]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[TASK]...", help="Only these tasks; all when none is given.")
]


@app.command("list")
def list_tasks(path: Place, tasks: Names = None, as_json: JsonOption = False) -> None:
    """List tasks, clusters and exclusions as they are described; no row is read."""
    suite = _suite(path, tasks)
    if as_json:
        print_json(
            {
                "name": suite.name,
                "description": suite.description,
                "tasks": [task.model_dump(mode="json") for task in suite.tasks.values()],
                "clusters": suite.clusters,
                "exclusions": suite.exclusions,
            }
        )
        return
    columns = ["task", "inputs", "output", "metric", "licence"]
    rows = [
        [task.name, ", ".join(task.inputs), _output(task), task.metric, task.licence] for task in suite.tasks.values()
    ]
    _print_table(suite.name, columns, rows)
    _print_groups(suite)


@app.command()
def check(
    path: Place,
    tasks: Names = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="Also count tokens with the tokenizer of this backbone: hub id, folder or minilm."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read every row of every split; exit with 2 when any cannot be used."""
    from multigraft.tasks.inspect import inspect_task

    suite = _suite(path, tasks)
    tokenizer = _tokenizer(backbone) if backbone else None
    reports = [inspect_task(t, _counter(tokenizer, t) if tokenizer else None) for t in suite.tasks.values()]
    if as_json:
        print_json([report.model_dump(mode="json") | {"warnings": report.warnings()} for report in reports])
    else:
        _print_check(suite, reports)
    if any(report.bad_rows for report in reports):
        raise typer.Exit(BAD_INPUT)


@app.command()
def show(
    path: Place,
    tasks: Names = None,
    split: Annotated[str | None, typer.Option(help="Split to show; the first one when not given.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Examples of each task.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Show some examples of tasks: the same sample every time."""
    from dataclasses import asdict

    suite = _suite(path, tasks)
    shown = {task.name: task.examples(split or task.split_names()[0], limit=rows) for task in suite.tasks.values()}
    if as_json:
        print_json({name: [asdict(example) for example in examples] for name, examples in shown.items()})
        return
    for name, examples in shown.items():
        task = suite.tasks[name]
        _print_table(
            f"{name}: {task.description} {_output(task)}",
            [*task.inputs, *(["options"] if task.output.kind == "choice" else []), task.output.field],
            [_cells(example) for example in examples],
        )


@app.command()
def init(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder with csv, tsv, jsonl, json or parquet files, or with a sub-folder for a task."),
    ],
    output: Annotated[Path | None, typer.Option(help="Folder for the suite; default FOLDER/suite.")] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(metavar="[TASK:]COLUMN", help="Column to read, for one task or all; repeat it for several texts."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="[TASK:]COLUMN", help="Column with the answer, for one task or all.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a suite that stands there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a suite of plain tables: say what is read, what is answered, and where that is a guess.

    Files NAME.csv, or NAME_train.csv and NAME_test.csv, are the task NAME; missing splits are cut from the rows for
    training. The files themselves are not touched.
    """
    from multigraft.tasks.infer import infer_suite, write_suite

    inferred = infer_suite(folder, text or (), label or ())
    place = write_suite(inferred, output or folder / "suite", replace)
    if as_json:
        print_json({"suite": str(place), "tasks": [one.summary() for one in inferred]})
    else:
        _print_inferred(inferred, place)


def _suite(path: str, tasks: list[str] | None) -> Suite:
    from multigraft.tasks.suite import load_suite

    suite = load_suite(path)
    return suite.subset(tasks) if tasks else suite


def _tokenizer(backbone: str) -> Any:
    from multigraft.backbones.load import load_tokenizer

    return load_tokenizer(backbone)


def _counter(tokenizer: Any, task: Task) -> Callable[[Example], int]:
    """Counts the tokens of an example as an encoder reads it; where options come by row, with the longest one."""
    from multigraft.batching.encode import segments

    by_row = task.output.kind == "choice" and task.output.choices is None

    def count(example: Example) -> int:
        options = example.choices if by_row else (None,)
        pairs = [segments(example.inputs, option, tokenizer.sep_token or "") for option in options]
        return max(len(tokenizer(*pair, verbose=False)["input_ids"]) for pair in pairs)

    return count


def _output(task: Task) -> str:
    output = task.output
    if output.kind == "number":
        return f"{output.range[0]:g} to {output.range[1]:g}"
    if output.kind == "text":
        return "text"
    return f"{len(output.choices)} options" if output.choices else "options by row"


def _cells(example: Example) -> list[str]:
    if not example.choices:
        return [*example.inputs, str(example.target)]
    return [*example.inputs, "\n".join(example.choices), example.choices[int(example.target)]]


def _print_check(suite: Suite, reports: list[TaskReport]) -> None:
    from rich.console import Console
    from rich.text import Text

    with_tokens = any(split.tokens for report in reports for split in report.splits)
    columns = ["task", "split", "rows", "answers", *(["tokens"] if with_tokens else []), "repeated", "bad"]
    rows = [
        [
            "" if number else report.task,
            split.split,
            f"{split.rows:,}",
            _answers(split),
            *([_tokens(split)] if with_tokens else []),
            str(split.duplicates or ""),
            str(split.bad_rows or ""),
        ]
        for report in reports
        for number, split in enumerate(report.splits)
    ]
    _print_table(suite.name, columns, rows)
    _print_groups(suite)
    console = Console(soft_wrap=True)
    for report in reports:
        for warning in report.warnings():
            console.print(Text(f"warning: {warning}", style="yellow"))
    for report in reports:
        for split in report.splits:
            hidden = split.bad_rows - len(split.bad)
            for line in [*split.bad, *([f"{split.where}: {hidden} more bad rows"] if hidden else [])]:
                console.print(Text(f"error: {line}", style="red"))
    total, bad = sum(s.rows for r in reports for s in r.splits), sum(report.bad_rows for report in reports)
    if with_tokens:
        console.print("tokens: median / 95th percentile / longest", highlight=False)
    console.print(f"tasks: {len(reports)}, good rows: {total:,}, faults: {bad:,}", highlight=False)


def _answers(split: SplitReport) -> str:
    """Balance of the labels in per cent, the rarer ones summed up; or mean and deviation of the numbers."""
    if split.numbers:
        return f"{split.numbers.mean:.2f} ± {split.numbers.deviation:.2f}"
    if not split.labels or not split.rows:
        return ""
    common = sorted(split.labels.items(), key=lambda item: -item[1])
    text = ", ".join(f"{label} {100 * count / split.rows:.0f}%" for label, count in common[:3])
    rest = sum(count for _, count in common[3:])
    return f"{text}, {len(common) - 3} others {100 * rest / split.rows:.0f}%" if common[3:] else text


def _tokens(split: SplitReport) -> str:
    tokens = split.tokens
    return f"{tokens.median} / {tokens.percentile_95} / {tokens.longest}" if tokens else ""


def _print_inferred(inferred: list[Inferred], place: Path) -> None:
    from rich.console import Console
    from rich.text import Text

    columns = ["task", "inputs", "output", "labels", "rows", "metric", "cluster (a guess)", "left out"]
    rows = [
        [
            one.task.name,
            "\n".join(one.task.inputs),
            f"{one.task.output.field} ({one.task.output.kind})",
            _named_options(one.task),
            "\n".join(f"{split} {len(part):,}{' *' * (split in one.cut)}" for split, part in one.rows.items()),
            one.task.metric,
            ", ".join(one.task.clusters),
            "\n".join(f"{column}: {why}" for column, why in one.left_out.items()),
        ]
        for one in inferred
    ]
    _print_table(str(place), columns, rows)
    console = Console(soft_wrap=True)
    if any(one.cut for one in inferred):
        console.print("* cut from the other rows; rows with the same texts stand in one split", highlight=False)
    for one in inferred:
        found = {
            "rows without an answer, left out": one.unlabelled,
            "rows that repeat an earlier one": one.duplicates,
            f"rows that cannot be used, left out (first: {next(iter(one.unusable), '')})": len(one.unusable),
        }
        for what, count in found.items():
            if count:
                console.print(Text(f"{one.task.name}: {what}: {count:,}"))
        for doubt in one.doubts:
            console.print(Text(f"doubtful: {doubt}", style="yellow"))
    console.print(Text(f"The suite: {place}"))


def _named_options(task: Task) -> str:
    options = task.output.choices or () if task.output.kind == "choice" else ()
    return "\n".join([*options[:4], *([f"{len(options) - 4} others"] if options[4:] else [])]) or _output(task)


def _print_groups(suite: Suite) -> None:
    clusters = [[cluster, ", ".join(names)] for cluster, names in suite.clusters.items()]
    _print_table("clusters", ["cluster", "tasks"], clusters)
    for first, second in suite.exclusions:
        print(f"excluded together: {first}, {second}")


def _print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout; cells are plain text, whatever characters they hold."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for column in columns:
        number = column in ("rows", "repeated", "bad")
        table.add_column(column, justify="right" if number else "left", overflow="fold", no_wrap=column == "task")
    for row in rows:
        cells = [textwrap.fill(cell, 32) if column == "task" else cell for column, cell in zip(columns, row)]
        table.add_row(*map(Text, cells))
    Console().print(table)
