"""`multigraft transfer judge`: how well transfer is predicted, or could be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multigraft.cli.common import JsonOption, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from multigraft.evaluation.judge import Comparison, Figures, Judgement

FIGURES = ["score", "gain", "95 %", "error gone", "regret"]


def judge(
    matrix: Annotated[
        Path,
        typer.Argument(
            metavar="MATRIX",
            help="CSV of scores in per cent: columns source, each target, and seed if repeated; row none.",
        ),
    ],
    predicted: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV of predictions for MATRIX: the higher, the better.")
    ] = None,
    k: Annotated[
        list[int] | None, typer.Option(help="Number of sources tried; repeatable. Default: 1 to all, at most 16.")
    ] = None,
    sizes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV with columns 'source' and 'size', in training examples.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a predictor of transfer, or what there is to predict, by the transfer matrix MATRIX.

    Always shown beside it: no transfer, the best of k random sources, the same sources for every target, and the best
    source of each target.
    """
    from multigraft.evaluation.judge import judge as judged
    from multigraft.evaluation.transfer_matrix import read_matrix, read_predicted, read_sizes

    scores = read_matrix(matrix)
    predictions = read_predicted(predicted, scores) if predicted is not None else None
    examples = read_sizes(sizes, scores) if sizes is not None else None
    judgement = judged(scores, predictions, ks=k or None, sizes=examples)
    if as_json:
        print_json(judgement.model_dump(mode="json"))
    else:
        _show(judgement)


def _show(found: Judgement) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    console.print(
        f"{len(found.sources)} sources, {len(found.targets)} targets, seeds: {found.seeds}; "
        f"{found.negative_cells} of {found.cells} cells are below no transfer",
        soft_wrap=True,
    )
    predicted = any(best.predicted for best in found.best_of)
    tables = (_ways, _best_of, _gained, _targets, _agreement) if predicted else (_ways, _best_of, _targets)
    for table in tables:
        console.print(table(found))
    if found.interval_over is not None:
        console.print(f"95 %: interval of the gain, over {found.interval_over}")
    console.print(_saved(found), soft_wrap=True)


def _ways(found: Judgement) -> Table:
    single = found.best_single_source
    rows: list[tuple[str, Figures | None]] = [
        ("no transfer", found.no_transfer),
        ("mean over sources", found.mean_of_sources),
        ("largest source", found.largest_source),
        (f"always {single.source}, best over all targets", single.figures),
        ("always the best over the other targets", found.best_single_source_left_out),
        ("best source of each target (oracle)", found.oracle),
    ]
    table = _table("One source", ["source", *FIGURES])
    for name, row in rows:
        if row is not None:
            table.add_row(name, *_cells(row))
    return table


def _best_of(found: Judgement) -> Table:
    table = _table("Best of k sources", ["k", "sources", *FIGURES])
    for best in found.best_of:
        for name, row in (("random", best.random), ("same for all", best.fixed), ("predicted", best.predicted)):
            if row is not None:
                table.add_row(str(best.k), name, *_cells(row))
    return table


def _gained(found: Judgement) -> Table:
    from multigraft.reports import figures

    def cells(over: Comparison | None) -> list[str]:
        if over is None:
            return [figures.NONE] * 3
        return [figures.signed(over.difference), figures.interval(over.interval), f"{over.p:.3f}"]

    table = _table("The prediction gains more than", ["k", "random", "95 %", "p", "same for all", "95 %", "p"])
    for best in found.best_of:
        table.add_row(str(best.k), *cells(best.over_random), *cells(best.over_fixed))
    return table


def _targets(found: Judgement) -> Table:
    from multigraft.reports import figures

    table = _table("Targets", ["target", "none", "mean", "best", "source"])
    for one in found.targets:
        scores = (figures.number(value) for value in (one.none, one.mean, one.best))
        table.add_row(one.target, *scores, one.best_source)
    return table


def _agreement(found: Judgement) -> Table:
    from multigraft.reports import figures

    columns = ["target", "Pearson", "p", "Spearman", "p", "NDCG", "random NDCG"]
    table = _table("Prediction and score, over the sources", columns)
    for one in found.targets:
        values = (one.pearson, one.pearson_p, one.spearman, one.spearman_p, one.ndcg, one.random_ndcg)
        decimals = (2, 3, 2, 3, 3, 3)
        table.add_row(one.target, *(figures.number(value, digits) for value, digits in zip(values, decimals)))
    return table


def _table(title: str, columns: list[str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for column in columns:
        words = column in ("sources", "target", "source")
        table.add_column(column, overflow="fold", justify="left" if words else "right")
    return table


def _cells(row: Figures) -> list[str]:
    from multigraft.reports import figures

    gain = [figures.signed(row.gain, 2), figures.interval(row.interval)]
    relative = figures.signed(row.relative) + (" %" if row.relative is not None else "")
    return [figures.number(row.score, 2), *gain, relative, figures.number(row.regret, 1, " %")]


def _saved(found: Judgement) -> str:
    from multigraft.reports import figures

    kept = {"random": found.saved.random, "same for all": found.saved.fixed, "predicted": found.saved.predicted}
    parts = [f"{name} k = {of[0]} (saves {figures.share(of[1])})" for name, of in kept.items() if of is not None]
    return f"for 90 % of the oracle's gain: {', '.join(parts)}" if parts else "the oracle gains nothing"
