"""`multigraft transfer`: which task helps which."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multigraft.cli import transfer_judge
from multigraft.cli.common import (
    BackboneOption,
    DataOption,
    JsonOption,
    OutputOption,
    SetOption,
    SuiteArgument,
    announcer,
    keeping,
    print_json,
    settings_of,
)

if TYPE_CHECKING:
    from multigraft.strategies.answering import Answering
    from multigraft.strategies.prompt_recipe import PromptRecipe

app = typer.Typer(help="Find out which task helps which, and whether that can be predicted.", no_args_is_help=True)
app.command("judge")(transfer_judge.judge)

RecipeOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="YAML file with settings; default: those of the papers, 1000 steps.")
]
LibraryOption = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Add the prompts to this library of experts.")
]


@app.command("map")
def draw_map(
    suite: SuiteArgument,
    output: OutputOption,
    recipe: RecipeOption = None,
    backbone: BackboneOption = None,
    library: LibraryOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace experts of the same names there.")] = False,
    overrides: SetOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a prompt for every task of SUITE and show how alike they are.

    Writes map.svg, and map.png where matplotlib is installed: the similarity of the prompts as they were after a tenth
    of the run, in the order of their clusters.
    """
    settings = _settings(suite, recipe, backbone, overrides, data)
    if library is not None and not replace:
        from multigraft.library.store import check_free
        from multigraft.tasks.suite import load_suite

        check_free(library, settings.sources or load_suite(suite).tasks)

    from multigraft.files import write_bytes, write_json, write_text
    from multigraft.library.similarity import cluster
    from multigraft.reports import task_map, task_map_png
    from multigraft.strategies.prompt_runs import how_alike, own_prompts

    with keeping(f"prompts and checkpoints are kept in {output}; the same command goes on from there"):
        answering, prompts = own_prompts(settings, output, quiet=as_json)
    alike = how_alike(prompts)
    names, similarity = list(prompts), alike["average_tokens"]
    order = [names[task] for task in cluster(similarity).order]
    about = {"tasks": names, "order": order, **{measure: found.tolist() for measure, found in alike.items()}}
    write_json(output / "similarity.json", about)
    title = f"Prompts of {settings.suite} on {settings.backbone_name}"
    write_text(output / "map.svg", task_map.standalone(names, similarity, title))
    drawn = ["map.svg"]
    if find_spec("matplotlib") is not None:
        write_bytes(output / "map.png", task_map_png.png(names, similarity, title))
        drawn.append("map.png")
    if library is not None:
        _add(answering, prompts, library, replace=replace)
    if as_json:
        print_json(about)
        return
    _show_map(names, similarity, order)
    print(f"In {output}: {', '.join(drawn)}, similarity.json")


@app.command()
def matrix(
    suite: SuiteArgument,
    output: OutputOption,
    target: Annotated[list[str], typer.Option(metavar="TASK", help="A task to score; repeatable.")],
    source: Annotated[
        list[str] | None, typer.Option(metavar="TASK", help="A task to start from; repeatable. Default: all others.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, from 0.")] = 1,
    predictor: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="What to predict the cells with; repeatable. Default: all.")
    ] = None,
    recipe: RecipeOption = None,
    backbone: BackboneOption = None,
    overrides: SetOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train every target from every source and from none; write matrix.csv, and predicted_NAME.csv for predictors.

    first_dev and best_dev are the scores of each run on the rows to choose by, when it is first scored and at its
    best: what training from all sources would choose. What is finished in the folder is not repeated. `multigraft
    transfer judge` reads the files.
    """
    from multigraft.library.predictors import PREDICTORS

    for name in predictor or ():
        PREDICTORS.get(name, "--predictor")
    sources = {"sources": source} if source else {}
    settings = _settings(suite, recipe, backbone, overrides, data, targets=target, **sources)

    from multigraft.strategies.prompt_runs import train_matrix

    with keeping(f"what is trained is kept in {output}; the same command goes on from there"):
        names = predictor or PREDICTORS.names()
        found = train_matrix(settings, range(seeds), names, output, announce=announcer(as_json), quiet=as_json)
    paths = found.write(output)
    if as_json:
        print_json([str(path) for path in paths])
        return
    print(f"In {output}: {', '.join(path.name for path in paths)}")
    print(f"Next: multigraft transfer judge {paths[0]} --predicted {paths[1]}")


@app.command()
def to(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Folder of a task, or a task of --suite.")],
    library: Annotated[Path, typer.Option("--from", metavar="LIBRARY", help="Library with the prompts of sources.")],
    output: OutputOption,
    use: Annotated[str, typer.Option(help="best-of-K, average-K, mixture-K or auto.")] = "auto",
    by: Annotated[str, typer.Option(metavar="NAME", help="What ranks the sources: a predictor.")] = "per_token",
    suite: Annotated[str | None, typer.Option(help="Embedded name or folder that has the task.")] = None,
    add: Annotated[bool, typer.Option("--add", help="Add the prompt to LIBRARY, under the task's name.")] = False,
    recipe: RecipeOption = None,
    backbone: BackboneOption = None,
    overrides: SetOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a prompt for TARGET from those of a library; it is written to a folder, with its card.

    auto tries the sources that rank best and a prompt from words within the steps of one run, and abstains from
    transfer where no source gains.
    """
    from multigraft.library.predictors import PREDICTORS
    from multigraft.library.store import Library, check_free
    from multigraft.strategies.prompt_runs import transfer_to

    way, k = _use(use)
    PREDICTORS.get(by, "--by")
    shelf = Library(library)
    name, place = (target, suite) if suite is not None else (Path(target).resolve().name, target)
    settings = _settings(place, recipe, backbone, overrides, data)
    if suite is None:
        from multigraft.tasks.suite import load_suite

        name = next(iter(load_suite(place).tasks))
    if add:
        check_free(library, [name])
    with keeping(f"what is trained is kept in {output}; the same command goes on from there"):
        found = transfer_to(settings, name, shelf, way, k, by, output, quiet=as_json)
    if add:
        _add(found.answering, {name: found.expert}, library)
    outcome = found.expert.outcome
    score = float(found.expert.answers().scores().mean())
    about = {"target": name, "started": found.reason, "dev": outcome.dev, settings.score_on: score,
             "tried": found.tried, "prompt": str(found.expert.folder / "result")}  # fmt: skip
    if as_json:
        print_json(about)
        return
    print(f"{name}: {found.reason}")
    for source, dev in sorted(found.tried.items(), key=lambda item: -item[1]):
        print(f"  {source}: dev {dev:.1f}")
    print(f"dev {outcome.dev:.1f}, {settings.score_on} {score:.1f}; the prompt: {about['prompt']}")


def _settings(
    suite: str, recipe: Path | None, backbone: str | None, overrides: list[str] | None, data: Path | None,
    **changes: Any,
) -> PromptRecipe:  # fmt: skip
    from multigraft.strategies.prompt_recipe import DEFAULTS, PromptRecipe

    return settings_of(PromptRecipe, DEFAULTS, suite, recipe, backbone, overrides, data, changes)


def _use(text: str) -> tuple[str, int]:
    """What `--use` says: the way, and K. Raises UserError."""
    from multigraft.errors import UserError

    ways = {"best-of": "best_of", "average": "average", "mixture": "mixture"}
    way, _, count = text.rpartition("-")
    if text == "auto":
        return "auto", 1
    if way not in ways or not count.isdecimal() or int(count) < 1:
        raise UserError(f"--use is {text!r}", fix="say auto, best-of-3, average-3 or mixture-3")
    return ways[way], int(count)


def _add(answering: Answering, prompts: dict[str, Any], folder: Path, *, replace: bool = False) -> None:
    from multigraft.library.parcel import add_all
    from multigraft.library.store import Library
    from multigraft.strategies.cards import parcels

    add_all(Library.create(folder, exist_ok=True), parcels(answering, prompts), replace=replace)


def _show_map(names: list[str], similarity: Any, order: list[str]) -> None:
    """Each task with the one that is most like it, in the order of their clusters."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    others = np.array(similarity) - 3 * np.eye(len(names))  # never itself
    table = Table(title="Cosine of average tokens")
    for column in ("task", "most like", "similarity"):
        table.add_column(column, justify="right" if column == "similarity" else "left", overflow="fold")
    for name in order:
        row = others[names.index(name)]
        table.add_row(name, names[int(row.argmax())] if len(names) > 1 else "–", f"{row.max():.2f}")
    Console().print(table)
