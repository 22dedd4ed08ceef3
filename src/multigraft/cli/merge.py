"""`multigraft merge`: one expert, or one full model, out of several."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multigraft.cli.common import JsonOption, print_json
from multigraft.errors import UserError

if TYPE_CHECKING:
    from multigraft.library.merging.interference import Interference
    from multigraft.library.merging.report import MergeReport

WORST = 5  # tensors with most conflicts that are shown


def command(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="uniform, weighted, task_arithmetic, ties, ...")],
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Folders that train wrote, FOLDER:EXPERT, LIBRARY:EXPERT, or safetensors files of full models.",
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="PATH", help="Folder for the result; a file, if models are files.")],
    base: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Full model that those in safetensors files were trained from.")
    ] = None,
    weights: Annotated[str | None, typer.Option(metavar="W,W,...", help="One number for each model.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method, such as scale=0.3; repeatable."),
    ] = None,
    statistics: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="For fisher and regmean, one for each model, in their order: safetensors file of its diagonal Fisher "
            "information or Gram matrices; repeatable.",
        ),
    ] = None,
    rank: Annotated[
        int | None, typer.Option(min=1, help="Rank of the merged LoRA expert. Default: the largest of the experts'.")
    ] = None,
    heads: Annotated[bool, typer.Option("--heads/--no-heads", help="Merge experts with or without heads.")] = True,
    shard_size: Annotated[
        float | None,
        typer.Option(metavar="GB", min=0.001, help="Largest file of a full model's folder, in 10^9 bytes."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Merge models with METHOD, and report how much they interfere with one another.

    Experts give an expert, tuned models a tuned model, safetensors files a file. Settings such as scale are to be
    chosen on held-out data.
    """
    from multigraft.cli.common import apply_overrides
    from multigraft.library.merging.base import parse_merge
    from multigraft.library.merging.report import Options, merge_sources

    merge = parse_merge(method, apply_overrides({}, settings))
    options = Options(
        base=base,
        weights=_numbers(weights) if weights is not None else None,
        statistics=tuple(statistics) if statistics else None,
        rank=rank,
        heads=heads,
        shard=round(shard_size * 1e9) if shard_size is not None else None,
    )
    report = merge_sources(merge, models, output, options)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _show(report, output)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        where = f"--weights {text}"
        raise UserError("not numbers with commas between", where=where, fix="write, for example, 0.5,0.5") from None


def _show(report: MergeReport, output: Path) -> None:
    from rich.console import Console

    from multigraft.reports import figures

    console = Console(highlight=False, markup=False, emoji=False)
    if report.interference is not None:
        _show_interference(console, report.interference)
    if report.error is not None:
        worst = max(report.errors, key=lambda name: report.errors[name])
        error, most = (figures.share(value) for value in (report.error, report.errors[worst]))
        console.print(f"Relative error of rank {report.rank}: {error}, at most {most} ({worst})", soft_wrap=True)
    console.print(f"In {output}: {len(report.models)} models merged by {report.method['name']}", soft_wrap=True)


def _show_interference(console: Any, found: Interference) -> None:
    from rich.table import Table
    from rich.text import Text

    from multigraft.reports import figures

    console.print("Cosine between task vectors", soft_wrap=True)
    table = Table()
    table.add_column("", overflow="fold")
    for name in found.models:
        table.add_column(Text(name), justify="right", overflow="fold")
    for name, row in zip(found.models, found.overall.cosine):
        table.add_row(Text(name), *(figures.number(value, 3) for value in row))
    console.print(table)
    worst = ", ".join(f"{name} {figures.share(found.tensors[name].conflicts)}" for name in found.worst(WORST))
    console.print(f"Sign conflicts: {figures.share(found.overall.conflicts)} of the entries; most in {worst}",
                  soft_wrap=True)  # fmt: skip
