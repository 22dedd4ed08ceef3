"""`multigraft similarity`: how alike prompts are, by both measures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multigraft.cli.common import JsonOption, print_json
from multigraft.errors import UserError

if TYPE_CHECKING:
    import numpy as np

_TITLES = {"average_tokens": "Cosine of average tokens", "per_token": "Per-token average cosine"}


def command(
    prompts: Annotated[
        list[Path],
        typer.Argument(
            metavar="PROMPT...", help="Arrays of tokens x width: .npy files, or .safetensors with a tensor 'prompt'."
        ),
    ],
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", metavar="FILE", help="Draw the first measure with its clusters: a .svg file, or a .png file."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the similarities of prompts with one another, in the order of their clusters.

    Cosine of average tokens, and per-token average cosine, whose diagonal is below 1 where a prompt's tokens differ.
    """
    from multigraft.library.similarity import cluster, read_prompt, similarity_matrices

    if plot is not None and plot.suffix not in (".svg", ".png"):
        raise UserError("not a picture's name", where=f"--plot {plot}", fix="end it with .svg or .png")
    arrays = [read_prompt(path) for path in prompts]
    for path, array in zip(prompts, arrays):
        if array.shape[1] != arrays[0].shape[1]:
            what = f"tokens are {array.shape[1]} wide, those of {prompts[0]} {arrays[0].shape[1]}"
            raise UserError(what, where=path, fix="compare prompts of one backbone")
    matrices, names = similarity_matrices(arrays), _names(prompts)
    if plot is not None:
        _draw(plot, names, matrices["average_tokens"])
    orders = {measure: cluster(matrix).order for measure, matrix in matrices.items()}
    if as_json:
        found = {
            measure: {"similarity": matrix.tolist(), "order": orders[measure]} for measure, matrix in matrices.items()
        }
        print_json({"prompts": names, **found})
    else:
        for measure, matrix in matrices.items():
            _show(measure, names, matrix, orders[measure])


def _names(paths: list[Path]) -> list[str]:
    """The files' names without suffix, or whole paths where these are not distinct."""
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def _draw(path: Path, names: list[str], matrix: np.ndarray) -> None:
    from multigraft.files import write_bytes
    from multigraft.reports.task_map import standalone
    from multigraft.reports.task_map_png import png

    title = _TITLES["average_tokens"]
    drawn = png(names, matrix, title) if path.suffix == ".png" else standalone(names, matrix, title).encode()
    write_bytes(path, drawn)


def _show(measure: str, names: list[str], matrix: np.ndarray, order: list[int]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from multigraft.reports import figures

    table = Table(title=Text(_TITLES[measure]), title_justify="left")
    table.add_column("", overflow="fold")
    for i in order:
        table.add_column(Text(names[i]), justify="right", overflow="fold")
    for i in order:
        table.add_row(Text(names[i]), *(figures.number(float(matrix[i, j]), 3) for j in order))
    Console(highlight=False, markup=False, emoji=False).print(table)
