"""What `multigraft experts` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from multigraft.cli.common import say

if TYPE_CHECKING:
    from rich.table import Table

    from multigraft.evaluation.selection import Selection
    from multigraft.strategies.expert_clusters import Clusters
    from multigraft.strategies.expert_runs import Grown


def selection(found: Selection) -> None:
    """Scores of all who answer, and how good the orders of selectors are."""
    from rich.console import Console

    from multigraft.reports import figures

    console = Console(highlight=False, markup=False, emoji=False)
    seeds = f"{found.seeds} seed{'s' * (found.seeds > 1)}"
    console.print(f"{len(found.targets)} targets, {found.experts:.0f} experts for each, {seeds}", soft_wrap=True)
    ways = sorted(found.ways, key=lambda way: -way.score)
    scores = _table("Scores", ("who answers", "score", "gain", "95 %", "gap closed"))
    for way in ways:
        gap = figures.NONE if way.gap_closed is None else f"{100 * way.gap_closed:.0f} %"
        gain = (figures.signed(way.gain, 2), figures.interval(way.interval))
        scores.add_row(way.name.replace("_", " "), figures.number(way.score, 2), *gain, gap)
    console.print(scores)
    orders = _table("Orders of experts", ("selector", "regret", "of 3", "NDCG", "rank", "rows", "embedded"))
    for way in ways:
        if way.regret is not None:
            passes = (way.backbone_passes, way.encoder_passes)
            orders.add_row(
                way.name.replace("_", " "),
                *(figures.number(way.regret[k], 2) for k in (1, 3)),
                figures.number(way.ndcg, 3),
                figures.number(way.median_rank, 1),
                *(figures.NONE if value is None else f"{value:.0f}" for value in passes),
            )
    console.print(orders)
    say("gap: between the same expert for all (best on average) and the oracle")
    say("regret: points below the best expert, of the first and of the best of the 3 first")
    say("rank: median place of the first in the order of scores; rows of a target, through the backbone and embedded")


def _table(title: str, columns: Sequence[str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for column in columns:
        words = column in ("who answers", "selector", "expert", "added", "routed elsewhere")
        table.add_column(column, justify="left" if words else "right", overflow="fold")
    return table


def trained(rows: dict[str, dict[str, Any]]) -> None:
    """Experts that were trained."""
    from rich.console import Console
    from rich.text import Text

    table = _table("Experts", ("expert", "dev", "step", "parameters"))
    for name, row in rows.items():
        table.add_row(Text(name), f"{row['dev']:.1f}", str(row["step"]), f"{row['parameters']:,}")
    Console().print(table)


def grown(grown: list[Grown]) -> None:
    """What each addition did to the others."""
    from rich.console import Console
    from rich.text import Text

    columns = ("added", "dev", "others", "changed bytes", "changed answers", "routed elsewhere")
    table = _table("Additions", columns)
    for one in grown:
        moved = ", ".join(f"{task}: {before} → {after}" for task, (before, after) in one.rerouted.items())
        counts = (one.others, len(one.changed_bytes), len(one.changed_answers))
        table.add_row(Text(one.added), f"{one.dev:.1f}", *map(str, counts), Text(moved or "–"))
    Console().print(table)


def clusters(found: Clusters) -> None:
    """Clusters that were found, beside those that are named."""
    from rich.console import Console
    from rich.text import Text

    scored = ("own expert", "of its weights", "of its name") if found.retrained else ()
    table = _table("Clusters", ("expert", "named", *(one.by for one in found.found), *scored))
    for task in sorted(found.tasks, key=lambda task: (found.found[0].groups[task], task)):
        scores = found.retrained.get(task)
        figures = (scores.own, scores.of_cluster, scores.of_suite) if scores else ()
        groups = (str(one.groups[task] + 1) for one in found.found)
        table.add_row(Text(task), Text(found.named[task]), *groups, *(f"{value:.1f}" for value in figures))
    Console().print(table)
    for one in found.found:
        index = "none, with one cluster" if one.rand_index is None else f"{one.rand_index:.2f}"
        say(f"adjusted Rand index of clusters by {one.by} and the suite's: {index}")
