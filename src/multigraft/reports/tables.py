"""The scoreboards and the ledger for the terminal, and the scoreboards as Markdown for documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from multigraft.errors import unknown
from multigraft.reports import figures
from multigraft.reports.board import Board, Cell, Column, Line, board
from multigraft.reports.certificates import certificate
from multigraft.reports.clusters import cluster_board
from multigraft.reports.verdicts import names
from multigraft.strategies.results import Results

LEDGER = ("task", "planned", "drawn", "rows", "passes", "tokens", "padding", "truncated")


def scoreboard(results: Results) -> Table:
    """The whole scoreboard as one table, however wide."""
    found = board(results)
    return _table(found, found.columns, title=results.title, caption=found.caption)


def scoreboards(results: Results, width: int) -> list[Table]:
    """The scoreboard in tables that fit `width` columns: one, or a summary and then as many of tasks as needed."""
    whole = scoreboard(results)
    if _width(whole) <= width:
        return [whole]
    found = board(results)
    costs = [column for column in found.columns if not column.task]
    tables = [_table(found, costs, title=results.title)]
    tables += _folded(found, [column for column in found.columns if column.task], width)
    tables[0].caption = Text(found.caption)  # the widest
    return tables


def cluster_tables(results: Results, width: int) -> list[Table]:
    """Averages by held-out cluster in tables that fit `width` columns; none where there are no clusters."""
    found = cluster_board(results)
    if found is None:
        return []
    tables = _folded(found, found.columns, width)
    tables[0].title, tables[0].caption = Text("By held-out cluster"), Text(found.caption)
    return tables


def _folded(found: Board, columns: Sequence[Column], width: int) -> list[Table]:
    """Tables of `columns` in order, each as wide as `width` allows."""
    tables, chunk = [], list(columns[:1])
    for column in columns[1:]:
        if _width(_table(found, [*chunk, column])) > width:
            tables.append(_table(found, chunk))
            chunk = []
        chunk.append(column)
    return [*tables, _table(found, chunk)] if chunk else tables


def show(results: Results, console: Console) -> None:
    """Print the scoreboard, then averages by held-out cluster and certificates, folded to the width of `console`."""
    for table in (*scoreboards(results, console.width), *cluster_tables(results, console.width)):
        console.print(table)
    if results.held_out:
        console.print()
    for held in results.held_out:
        console.print(Text(certificate(held)))


def ledger_rows(results: Results, row: str) -> list[tuple[str, ...]]:
    """What the row with id `row` was trained on, as text in the order of `LEDGER`. Raises UserError for no such row."""
    ledgers = {found.id: found.ledger for found in results.rows}
    if row not in ledgers:
        raise unknown("row", row, ledgers)
    total = sum(draws.drawn for draws in ledgers[row].values()) or 1
    return [
        (
            task,
            figures.share(draws.planned),
            figures.share(draws.drawn / total),
            figures.number(draws.drawn, 0),
            figures.number(draws.passes, 2),
            figures.number(draws.tokens, 0),
            figures.share(draws.padding),
            figures.share(draws.truncated),
        )
        for task, draws in ledgers[row].items()
    ]


def ledger(results: Results, row: str) -> Table:
    """Draws of the row with id `row`, per task: planned and drawn share, rows, passes, tokens, padding, truncation."""
    rows = ledger_rows(results, row)
    caption = Text("First seed. Tokens without padding; padding: share of positions; truncated: share of rows.")
    table = Table(title=Text(names(results)[row]), caption=caption, box=box.SIMPLE_HEAD, caption_justify="left")
    for title in LEDGER:
        table.add_column(title, justify="left" if title == "task" else "right", overflow="fold")
    for cells in rows:
        table.add_row(*(Text(cell) for cell in cells))
    return table


def plain(results: Results) -> str:
    """The scoreboard as a GitHub Markdown table with its caption."""
    return _plain(board(results))


def plain_clusters(results: Results) -> str:
    """Averages by held-out cluster as a GitHub Markdown table with its caption; empty where there are no clusters."""
    found = cluster_board(results)
    return _plain(found) if found else ""


def _plain(found: Board) -> str:
    head = ["way", *(f"{column.title} ({column.note})" for column in found.columns)]
    lines = [_markdown(head), "|---|" + "---:|" * len(found.columns)]
    for line in (*found.baselines, *found.lines):
        cells = [line.cells.get(column.key, Cell()) for column in found.columns]
        texts = [(_whole(cell) if not column.task else cell.text, cell) for column, cell in zip(found.columns, cells)]
        lines.append(_markdown([line.name, *texts]))
    return "\n".join([*lines, "", _literal(found.caption), ""])


def _markdown(cells: Iterable[str | tuple[str, Cell]]) -> str:
    texts = []
    for cell in cells:
        text = _literal(cell if isinstance(cell, str) else cell[0])
        texts.append(f"**{text}**" if not isinstance(cell, str) and cell[1].best else text)
    return f"| {' | '.join(texts)} |"


def _literal(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|~#&])", r"\\\1", " ".join(text.split()))


def _whole(cell: Cell) -> str:
    return " ".join(part for part in (cell.mark, cell.text, cell.spread, cell.interval) if part)


def _table(found: Board, columns: Sequence[Column], title: str = "", caption: str = "") -> Table:
    table = Table(
        title=Text(title) if title else None,
        caption=Text(caption) if caption else None,
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        caption_justify="left",
        collapse_padding=True,
    )
    table.add_column("", max_width=28, overflow="fold")
    for column in columns:
        table.add_column(Text(f"{column.title}\n{column.note}"), justify="right", no_wrap=True)
    for position, line in enumerate((*found.baselines, *found.lines), 1):
        table.add_row(*_texts(line, columns), end_section=position == len(found.baselines))
    return table


def _texts(line: Line, columns: Sequence[Column]) -> list[Text]:
    style = "dim" if line.group == "baseline" else ""
    texts = [Text(line.name, style)]
    for column in columns:
        cell = line.cells.get(column.key, Cell())
        text = cell.text if column.task else _whole(cell)
        texts.append(Text(text, "bold" if cell.best else style))
    return texts


def _width(table: Table) -> int:
    console = Console(width=10_000)
    return Measurement.get(console, console.options, table).maximum
