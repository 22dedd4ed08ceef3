"""`multigraft generate`: texts written by a text-to-text model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multigraft.cli.common import JsonOption, print_json


def command(
    backbone: Annotated[
        str, typer.Argument(help="Text-to-text backbone: hub id or folder; or the folder of a trained one.")
    ],
    text: Annotated[list[str] | None, typer.Option(help="An input; repeatable.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="Text file with an input on each line, or a jsonl, csv, tsv or parquet file.")
    ] = None,
    field: Annotated[str, typer.Option(help="Field of the file that holds the input.")] = "text",
    chat: Annotated[bool, typer.Option("--chat", help="Put inputs into the backbone's chat template.")] = False,
    beams: Annotated[int, typer.Option(min=1, help="Beams of the search; 1 is greedy.")] = 1,
    max_input: Annotated[int, typer.Option(min=1, help="Tokens of an input; longer ones are cut.")] = 512,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens to write.")] = 64,
    as_json: JsonOption = False,
) -> None:
    """Write what the backbone says to each input; without --text or --file, to each line that is typed in."""
    import sys

    from multigraft.errors import UserError
    from multigraft.evaluation.text_report import text_model

    if text is not None and file is not None:
        raise UserError("both --text and --file", fix="give one of the two")
    inputs = text if text is not None else _inputs(file, field) if file is not None else None
    model = text_model(backbone)
    form = model.backbone.text_format(max_input, max_tokens)

    def answer(lines: list[str]) -> list[str]:
        from multigraft.evaluation.generation import chat_input, generate

        asked = [chat_input(model, line) for line in lines] if chat else lines
        return generate(model, asked, [0] * len(asked), form, max_tokens=max_tokens, beams=beams)

    if inputs is not None:
        found = answer(inputs)
        if as_json:
            print_json([{"input": one, "output": two} for one, two in zip(inputs, found, strict=True)])
        else:
            print("\n".join(found))
        return
    if sys.stdin.isatty():
        print("Type an input and press Enter; an empty line ends.", file=sys.stderr)
    for line in sys.stdin:
        if not line.strip():
            break
        output = answer([line.strip()])[0]
        print_json({"input": line.strip(), "output": output}) if as_json else print(output, flush=True)


def _inputs(file: Path, field: str) -> list[str]:
    from multigraft.errors import UserError, nearest
    from multigraft.evaluation.answers import rows_of_file
    from multigraft.settings import read_text

    if file.suffix == ".txt":
        lines = [line for line in read_text(file).splitlines() if line.strip()]
        if not lines:
            raise UserError("no inputs", where=file)
        return lines
    inputs = []
    for number, row in enumerate(rows_of_file(file), 1):
        if not isinstance(row.get(field), str):
            raise UserError(f"no text in field {field!r}", where=f"{file}: row {number}", fix=nearest(field, row))
        inputs.append(str(row[field]))
    return inputs
