"""`multigraft route`: which expert of a library suits a task or a text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multigraft.cli.common import DataOption, JsonOption, point_to_data, print_json, say
from multigraft.errors import UserError

if TYPE_CHECKING:
    from multigraft.library.retrieval.votes import Place


def command(
    library: Annotated[Path, typer.Argument(metavar="LIBRARY", help="Folder of the library.")],
    task: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Folder of a task, or jsonl, csv, tsv, json or parquet file of its rows."),
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="A text; repeatable, each is a query.")] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Field of the file to read; repeatable. Default: `text`, or all with text."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="SPLIT", help="Of the task's folder; default: validation, or else test.")
    ] = None,
    queries: Annotated[int, typer.Option(min=1, help="Rows that vote, at most.")] = 32,
    neighbours: Annotated[int, typer.Option(min=1, help="Nearest keys that decide a query's vote.")] = 1,
    least_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Choose none whose share of the votes is below.")
    ] = 0.0,
    least_similarity: Annotated[
        float, typer.Option(min=-1, max=1, help="Choose none whose nearest keys have a mean cosine below.")
    ] = -1.0,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rank the experts of LIBRARY for a task, or for texts, by the nearest texts that they were trained on.

    Labels are not needed. `multigraft library index` makes the keys that this looks up.
    """
    if (task is None) == (not text):
        raise UserError("both --task and --text" if text else "nothing to route", fix="give --task or --text")
    if text and (field or split):
        raise UserError("--field and --split are for --task", fix="leave them out")
    point_to_data(data)
    from multigraft.library.retrieval.index import Index
    from multigraft.library.retrieval.instances import of_texts, read_instances
    from multigraft.library.retrieval.keys import Router
    from multigraft.library.retrieval.votes import Votes
    from multigraft.library.store import Library

    index, votes = Index.of(Library(library)), Votes()
    instances = of_texts(text) if text else read_instances(Path(task or "."), queries, field or (), split)
    Router(index).vote(instances, votes, neighbours)
    ranking, decision = votes.ranking(), votes.decide(least_confidence, least_similarity)
    if as_json:
        print_json({
            "queries": votes.queries,
            "expert": decision.expert,
            "reason": decision.reason,
            "ranking": [place.model_dump(mode="json") | {"similarity": place.similarity} for place in ranking],
            "without_keys": list(index.without),
            "keys": index.made.model_dump(mode="json") if index.made else None,
        })  # fmt: skip
        return
    _show(ranking, votes.queries)
    say(decision.reason if decision.expert else f"abstains: {decision.reason}")
    if index.without:
        say(f"left out, as they have no keys: {', '.join(index.without)}")


def _show(ranking: tuple[Place, ...], queries: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from multigraft.reports import figures

    table = Table(title=Text(f"Votes of {queries} queries"), title_justify="left")
    for column in ("expert", "votes", "confidence", "95 %", "score", "similarity", "tie"):
        words = column in ("expert", "tie")
        table.add_column(column, overflow="fold", justify="left" if words else "right", no_wrap=column == "95 %")
    for place in ranking:
        low, high = place.interval
        table.add_row(
            Text(place.expert),
            str(place.votes),
            figures.number(place.confidence, 2),
            f"{low:.2f} to {high:.2f}",
            figures.number(place.score, 3),
            figures.number(place.similarity, 3),
            f"by {place.decided_by}" if place.tied else "",
        )
    Console(highlight=False, markup=False, emoji=False).print(table)
