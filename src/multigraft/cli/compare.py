"""`multigraft compare`: several ways of sharing on equal terms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multigraft.cli.common import DataOption, JsonOption, SetOption, announcer, keeping, note, print_json, say
from multigraft.errors import UserError

if TYPE_CHECKING:
    from multigraft.strategies.comparison import Comparison

PLAN = "plan.yaml"
_UNITS = {"s": 1, "m": 60, "h": 3600}


def command(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|SUITE|FOLDER", help="YAML file with rows; or name or folder of a suite, or of plain tables."
        ),
    ],
    output: Annotated[Path | None, typer.Option(help="Folder for runs and results; default runs/NAME.")] = None,
    unseen: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK", help="Task or cluster of a suite to keep new: what answers for it? Repeatable."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="30m", help="Time that a suite may take, as 90s, 30m or 2h; default 15m.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(metavar="TASK", help="Only this task or cluster of a suite; repeatable.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds, from 0; default: the recipe's.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Every row of a recipe on each of these; the encoder for a suite."),
    ] = None,
    words: Annotated[
        str | None, typer.Option(metavar="NAME", help="Text-to-text backbone for a suite, or none; default pocket.")
    ] = None,
    plan_only: Annotated[bool, typer.Option("--plan", help="Show the plan for a suite, and stop.")] = False,
    overrides: SetOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find out which way of sharing is best: train and score each with the same rows and seeds; write report.html.

    A recipe says what its rows are. For a suite, or a folder of tables, all ways are planned within a budget of time.
    Runs that are finished in the output folder are not repeated, and one that was stopped goes on where it was.
    """
    from multigraft.cli.common import apply_overrides, point_to_data
    from multigraft.settings import build
    from multigraft.strategies.comparison import on_backbones, read_recipe
    from multigraft.strategies.strategy import strategy_of

    point_to_data(data)
    recipe = Path(what)
    if recipe.is_file() or recipe.suffix in (".yaml", ".yml"):
        given = {"--budget": budget, "--task": task, "--unseen": unseen, "--words": words, "--plan": plan_only}
        for name, value in given.items():
            if value:
                raise UserError(
                    f"{name} is for a suite, and {what} is a recipe", fix="say it with --set, or in the file"
                )
        others = None
        values, folder = read_recipe(recipe), output or Path("runs") / recipe.stem
        if backbone is not None:
            values = on_backbones(values, [name.strip() for name in backbone.split(",")])
    else:
        folder = output or Path("runs") / (recipe.resolve().name if recipe.exists() else recipe.name)
        asked = {"suite": what, "budget": budget or "15m", "backbone": backbone or "minilm", "words": words or "pocket",
                 "tasks": task or [], "unseen": unseen or []}  # fmt: skip
        values, others = _planned(asked, folder, quiet=as_json)
        recipe = folder / PLAN

    def built(values: dict[str, Any]) -> Comparison:
        values = apply_overrides(values, overrides)
        if seeds is not None:
            values["seeds"] = list(range(seeds))
        settings = build(strategy_of(values, recipe).comparison, values, recipe)
        settings.resolved(recipe)
        return settings

    main, new = built(values), built(others) if others else None
    if not plan_only:
        _run(main, new, folder, as_json=as_json)


def _run(settings: Comparison, unseen: Comparison | None, folder: Path, *, as_json: bool) -> None:
    from accelerate import Accelerator
    from rich.console import Console

    from multigraft.reports import html, tables
    from multigraft.strategies.compare import compare

    with keeping(f"finished runs and checkpoints are kept in {folder}; the same command goes on from there"):
        results = compare(settings, folder, announce=note, quiet=as_json)
        new = None
        if unseen is not None:
            new = compare(unseen, folder / "unseen", root=folder, announce=note, quiet=as_json)
    if not Accelerator().is_main_process:
        return
    page = folder / "report.html"
    html.write(results, page, new)
    if as_json:
        print_json(results.model_dump(mode="json") | ({"unseen": new.model_dump(mode="json")} if new else {}))
    else:
        tables.show(results, Console())
        if new is not None:
            tables.show(new, Console())
            for task in new.tasks:
                chosen = {row.label: ", ".join(row.learned_from.get(task.name, ())) for row in new.rows}
                say(f"{task.name}: {'; '.join(f'{label}: {experts}' for label, experts in chosen.items() if experts)}")
        note(f"The page: {page}")


def _planned(asked: dict[str, Any], folder: Path, *, quiet: bool) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The recipes for a suite, or for a folder of tables: those in the output folder, or new ones."""
    import yaml

    from multigraft.files import write_text
    from multigraft.settings import read_yaml
    from multigraft.strategies.plan import make_plan
    from multigraft.tasks.infer import is_plain_folder
    from multigraft.tasks.suite import load_suite

    path, seconds, what, words = folder / PLAN, _seconds(asked["budget"]), asked["suite"], asked["words"]
    if path.exists():
        kept = read_yaml(path)
        if not isinstance(kept, dict) or kept.get("asked") != asked:
            fix = "give another folder with --output, or the same suite and options"
            raise UserError("is the plan of another comparison", where=path, fix=fix)
        return kept["recipe"], kept.get("unseen")
    place = what
    if is_plain_folder(Path(what)):
        place = str(_suite_of(Path(what), folder, quiet=quiet))
    suite, tell = load_suite(place), announcer(quiet)
    tell("measuring what a row costs on this machine")
    plan = make_plan(suite, place, seconds, backbone=asked["backbone"], words=None if words == "none" else words,
                     wanted=asked["tasks"], unseen=asked["unseen"])  # fmt: skip
    kept = {"asked": asked, "recipe": plan.recipe, "unseen": plan.unseen}
    write_text(path, yaml.safe_dump(kept, sort_keys=False, allow_unicode=True))
    tell(f"{len(plan.recipe['rows'])} ways, {len(plan.recipe['tasks'])} tasks; each way draws {plan.rows} rows of "
         f"each task, and {plan.recipe['scored_examples']} at most are scored")  # fmt: skip
    if plan.unseen:
        new = [name for name in plan.unseen["tasks"] if name not in plan.recipe["tasks"]]
        tell(f"{len(plan.unseen['rows'])} ways answer for what is new: {', '.join(new)}")
    for name, why in plan.left_out.items():
        tell(f"left out: {name}: {why}")
    tell(f"about {max(1, round(plan.seconds / 60))} minutes; the plan: {path}")
    return plan.recipe, plan.unseen


def _suite_of(tables: Path, folder: Path, *, quiet: bool) -> Path:
    """The suite of a folder of tables, written beside the results."""
    from multigraft.tasks.infer import infer_suite, write_suite

    inferred, tell = infer_suite(tables), announcer(quiet)
    for one in inferred:
        tell(f"{one.task.name}: reads {', '.join(one.task.inputs)}; answers {one.task.output.field} "
             f"({one.task.output.kind})")  # fmt: skip
        for doubt in one.doubts:
            tell(f"doubtful: {doubt}")
    return write_suite(inferred, folder / "suite", replace=True)


def _seconds(text: str) -> int:
    """Seconds of a time such as 30m. Raises UserError."""
    found = re.fullmatch(r"(\d+)([smh])", text.strip())
    if not found or not int(found[1]):
        raise UserError(f"{text!r} is no time", where="--budget", fix="write 90s, 30m or 2h")
    return int(found[1]) * _UNITS[found[2]]
