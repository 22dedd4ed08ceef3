"""`multigraft experts`: independent experts in bulk, a library that grows, and which expert a new task should use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multigraft.cli import expert_tables as tables
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
    say,
    settings_of,
)

if TYPE_CHECKING:
    from multigraft.strategies.retrieval_recipe import RetrievalRecipe

app = typer.Typer(help="Train experts in bulk, add to a library, and judge what finds the right one.",
                  no_args_is_help=True)  # fmt: skip

RecipeOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="YAML file with settings; default: the paper's."),
]
MethodOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="What an expert is: lora, adapter, pal, soft_prompt, full, ...")
]
PerOption = Annotated[
    str | None, typer.Option(metavar="task|template", help="An expert for each task, or for each of its wordings.")
]
SourceOption = Annotated[
    list[str] | None, typer.Option(metavar="TASK", help="A task with an expert; repeatable. Default: all.")
]
BankOption = Annotated[
    int | None, typer.Option(min=1, help="Experts trained at once; default: as many as memory allows.")
]


@app.command()
def train(
    suite: SuiteArgument,
    output: OutputOption,
    library: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Add the experts to this library.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace experts of the same names there.")] = False,
    method: MethodOption = None,
    per: PerOption = None,
    task: SourceOption = None,
    bank_size: BankOption = None,
    recipe: RecipeOption = None,
    backbone: BackboneOption = None,
    overrides: SetOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train an expert for every task of SUITE, or for every wording, in as few banks as memory allows.

    Each comes out as it would alone, at its own best step. What is finished in the folder is not repeated.
    """
    settings = _settings(suite, recipe, backbone, method, per, task, bank_size, overrides, data)
    from multigraft.strategies.expert_runs import fill, own_experts

    with keeping(f"experts and checkpoints are kept in {output}; the same command goes on from there"):
        pool, trained = own_experts(settings, output, quiet=as_json, into=None if replace else library)
    if library is not None:
        fill(pool, list(trained), library, replace=replace)
    rows = {
        name: {"task": one.outcome.task, "dev": one.outcome.dev, "step": one.outcome.chosen_step,
               "parameters": one.outcome.parameters, "folder": str(one.folder / "result")}
        for name, one in trained.items()
    }  # fmt: skip
    if as_json:
        print_json(rows)
        return
    tables.trained(rows)
    kept = f"; in the library {library}, with key vectors" if library is not None else ""
    say(f"{len(rows)} experts in {output}{kept}")


@app.command()
def add(
    suite: SuiteArgument,
    library: Annotated[Path, typer.Option(metavar="FOLDER", help="Library that grows; made where there is none.")],
    output: OutputOption,
    task: Annotated[list[str], typer.Option(metavar="TASK", help="A task to add, in this order; repeatable.")],
    method: MethodOption = None,
    recipe: RecipeOption = None,
    backbone: BackboneOption = None,
    overrides: SetOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add experts for tasks of SUITE one after the other, and prove after each that the others are as they were.

    Compared are the bytes of every other expert, its answers to the scored rows of its task, and which expert each
    task of the library is routed to.
    """
    settings = _settings(suite, recipe, backbone, method, None, None, None, overrides, data)
    from multigraft.strategies.expert_runs import grow

    with keeping(f"experts are kept in {output} and {library}; the same command goes on from there"):
        grown = list(grow(settings, task, library, output, quiet=as_json))
    if as_json:
        print_json([one.model_dump(mode="json") for one in grown])
    else:
        tables.grown(grown)
    if any(one.changed_bytes or one.changed_answers for one in grown):
        raise typer.Exit(1)


@app.command()
def judge(
    suite: SuiteArgument,
    output: OutputOption,
    leave_out: Annotated[
        str,
        typer.Option(
            metavar="task|cluster|nothing", help="Experts that a target may not use: of its task, its clusters."
        ),
    ] = "task",
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK", help="A task to score; repeatable. Default: sources with options."),
    ] = None,
    source: SourceOption = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, from 0.")] = 1,
    method: MethodOption = None,
    per: PerOption = None,
    bank_size: BankOption = None,
    recipe: RecipeOption = None,
    backbone: BackboneOption = None,
    overrides: SetOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge what finds the expert that a task without one needs: every task in turn is taken to be new.

    Beside the selectors stand the backbone alone, a random expert, the same for all, mixtures and merges, the target's
    own expert, and the oracle. Writes selection.json.
    """
    settings = _settings(suite, recipe, backbone, method, per, source, bank_size, overrides, data,
                         leave_out=leave_out, targets=target or None)  # fmt: skip

    from multigraft.files import write_json
    from multigraft.strategies.expert_judge import judge_experts

    with keeping(f"what is trained is kept in {output}; the same command goes on from there"):
        found = judge_experts(settings, range(seeds), output, announce=announcer(as_json), quiet=as_json)
    write_json(output / "selection.json", found.model_dump(mode="json"))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        tables.selection(found)
        say(f"In {output}: selection.json")


@app.command()
def clusters(
    suite: SuiteArgument,
    output: OutputOption,
    count: Annotated[
        int | None, typer.Option(min=1, help="Clusters to find; default: as many as the suite has.")
    ] = None,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train one expert for each cluster and score it.")] = False,
    method: MethodOption = None,
    task: SourceOption = None,
    bank_size: BankOption = None,
    recipe: RecipeOption = None,
    backbone: BackboneOption = None,
    overrides: SetOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cluster the tasks of SUITE by their experts and by their texts, and compare with the clusters that it names.

    Writes clusters.json, and clusters_weights.svg and clusters_texts.svg.
    """
    settings = _settings(suite, recipe, backbone, method, None, task, bank_size, overrides, data)

    import numpy as np

    from multigraft.files import write_json, write_text
    from multigraft.reports import task_map
    from multigraft.strategies.expert_clusters import find_clusters

    with keeping(f"what is trained is kept in {output}; the same command goes on from there"):
        found = find_clusters(settings, output, count, retrain=retrain, quiet=as_json)
    write_json(output / "clusters.json", found.model_dump(mode="json"))
    for one in found.found:
        title = f"Experts of {settings.suite} on {settings.backbone_name}, by {one.by}"
        drawn = task_map.standalone(list(found.tasks), np.array(one.similarity), title)
        write_text(output / f"clusters_{one.by}.svg", drawn)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        tables.clusters(found)
        say(f"In {output}: clusters.json, clusters_weights.svg, clusters_texts.svg")


def _settings(
    suite: str, recipe: Path | None, backbone: str | None, method: str | None, per: str | None,
    sources: list[str] | None, bank_size: int | None, overrides: list[str] | None, data: Path | None,
    **changes: Any,
) -> RetrievalRecipe:  # fmt: skip
    from multigraft.strategies.retrieval_recipe import RetrievalRecipe, defaults_for

    given = {"method": {"name": method} if method else None, "per": per, "sources": sources or None,
             "bank_size": bank_size, **changes}  # fmt: skip
    chosen = {key: value for key, value in given.items() if value is not None}
    return settings_of(RetrievalRecipe, defaults_for(method), suite, recipe, backbone, overrides, data, chosen)
