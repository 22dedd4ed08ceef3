"""`multigraft predict`: one text, every task's answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multigraft.cli.common import JsonOption, print_json


def command(
    model: Annotated[Path, typer.Argument(help="Folder that train wrote, or the model folder in it.")],
    text: Annotated[
        list[str] | None,
        typer.Option(help="A text; given twice, the two texts of a pair. Tasks with as many inputs answer."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="jsonl, csv, tsv or parquet file: tasks whose fields a row has answer it, else its `text`."),
    ] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task; repeatable.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write JSON lines here instead of printing.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Answer texts for all tasks of a model at once; the layers that tasks share run once per text."""
    import json

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from multigraft.errors import UserError
    from multigraft.files import write_text

    if (text is None) == (file is None):
        raise UserError("nothing to answer" if text is None else "both --text and --file", fix="give one of the two")
    from multigraft.evaluation.answers import Answerer, rows_of_file

    answerer = Answerer.load(model, task)
    rows = [{"texts": text}] if text is not None else rows_of_file(file)  # type: ignore[arg-type]
    answers = answerer.answer(rows)
    records = [
        {**row, "answers": {name: a.record() for name, a in found.items()}}
        for row, found in zip(rows, answers, strict=True)
    ]
    if output is not None:
        write_text(output, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
        return
    if as_json:
        print_json(records)
        return
    for row, found in zip(rows, answers, strict=True):
        table = Table(title=Text(" | ".join(str(value) for value in _shown(row))[:100]))
        for column in ("task", "answer", "probability"):
            table.add_column(column, justify="right" if column == "probability" else "left")
        for name, answer in found.items():
            sure = "" if answer.probability is None else f"{100 * answer.probability:.0f} %"
            table.add_row(name, Text(answer.text), sure)
        Console().print(table)


def _shown(row: dict[str, object]) -> list[object]:
    texts = row.get("texts")
    return list(texts) if isinstance(texts, list) else list(row.values())
