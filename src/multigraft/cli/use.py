"""`multigraft use`: the winner of a comparison as a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multigraft.cli.common import JsonOption, print_json, say
from multigraft.errors import UserError, unknown

if TYPE_CHECKING:
    from multigraft.strategies.results import Results, Row


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that compare wrote.")],
    output: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder for the model.")],
    row: Annotated[
        str | None, typer.Option(metavar="LABEL", help="This way; default: the best on average that kept a model.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The run with this seed; default: the row's first.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the model of the best way in RUN, ready for predict, generate, evaluate, serve and library add."""
    from multigraft.settings import build, read_text
    from multigraft.strategies.compare import run_folder
    from multigraft.strategies.results import Results
    from multigraft.strategies.strategy import strategy_of

    path = run / "results.json"
    if not path.exists():
        raise UserError("no results in here", where=run, fix="give the folder that compare wrote, when it is done")
    if output.exists():
        raise UserError("exists", where=output, fix="name a new folder")
    try:
        results = Results.model_validate_json(read_text(path))
    except ValueError:
        raise UserError("damaged", where=path, fix="run the comparison again: it is written anew") from None
    kind = strategy_of(results.settings, path)
    recipes = {recipe.key(): recipe for _, recipe in build(kind.comparison, results.settings, path).resolved(path)}
    way = kind(run)
    passed: list[str] = []
    for one in _candidates(results, row):
        chosen = one.seeds[0] if seed is None else seed
        if chosen not in one.seeds:
            raise UserError(f"{one.label!r} has no run with seed {chosen}", where=run, fix=f"its seeds: {one.seeds}")
        recipe = recipes[one.id].model_copy(update={"seed": chosen})
        try:
            way.write_model(recipe, run_folder(run, recipe, chosen), output)
        except UserError as error:
            if row is not None:
                raise
            passed.append(error.what)
            continue
        _report(one, chosen, output, passed, as_json=as_json)
        return
    raise UserError("no row kept a model", where=run, fix="; ".join(passed))


def _candidates(results: Results, label: str | None) -> list[Row]:
    """The row with a label, or all of them, the best first."""
    if label is None:
        return sorted(results.rows, key=lambda row: -row.average.mean)
    found = [row for row in results.rows if row.label == label]
    if not found:
        raise unknown("row", label, [row.label for row in results.rows])
    return found


def _report(row: Row, seed: int, output: Path, passed: list[str], *, as_json: bool) -> None:
    about: dict[str, Any] = {"row": row.label, "seed": seed, "average": row.average.mean, "model": str(output),
                             "passed_over": passed}  # fmt: skip
    if as_json:
        print_json(about)
        return
    for why in passed:
        say(f"passed over: {why}")
    say(f"{row.label}, seed {seed}, average {row.average.mean:.1f}: {output}")
    verb = "generate" if row.strategy == "instructions" else "predict"
    say(f'Next: multigraft {verb} {output} --text "..."')
