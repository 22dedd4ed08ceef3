"""`multigraft library`: keep experts, look at them, check them, and exchange them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multigraft.cli.common import DataOption, JsonOption, point_to_data, print_json, say
from multigraft.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multigraft.library.store import Expert

app = typer.Typer(help="Keep experts in a library: a folder that several processes may use at once.",
                  no_args_is_help=True)  # fmt: skip

LibraryArgument = Annotated[Path, typer.Argument(metavar="LIBRARY", help="Folder of the library.")]
NewLibraryArgument = Annotated[
    Path, typer.Argument(metavar="LIBRARY", help="Folder of the library; made where there is none.")
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the expert.")]
RepositoryArgument = Annotated[str, typer.Argument(metavar="REPOSITORY", help="On the Hugging Face hub: owner/name.")]
ExpertOption = Annotated[
    list[str] | None, typer.Option("--expert", metavar="NAME", help="Only this expert; repeatable. Default: all.")
]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Replace experts of the same name.")]
BackboneOption = Annotated[
    str | None, typer.Option(metavar="BACKBONE", help="Hub id or folder, where it is not the one that is named.")
]


@app.command()
def add(
    library: NewLibraryArgument,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder that train wrote, or of one expert.")],
    expert: ExpertOption = None,
    name: Annotated[str | None, typer.Option("--as", metavar="NAME", help="Another name, for a single expert.")] = None,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add the experts of a trained model, with their heads and cards, to LIBRARY."""
    from multigraft.errors import unknown
    from multigraft.library.parcel import add_all, read_experts
    from multigraft.library.store import Library

    parcels = read_experts(model)
    found = {parcel.name: parcel for parcel in parcels}
    for wanted in expert or ():
        if wanted not in found:
            raise unknown("expert", wanted, found, model)
    chosen = [found[wanted] for wanted in expert] if expert else parcels
    if name is not None:
        if len(chosen) > 1:
            raise UserError(f"one name for {len(chosen)} experts", where=f"--as {name}", fix="choose one with --expert")
        chosen = [chosen[0]._replace(name=name)]
    _print_names("added", add_all(Library.create(library, exist_ok=True), chosen, replace=replace), as_json)


@app.command("list")
def list_experts(
    library: LibraryArgument,
    task: Annotated[str | None, typer.Option(metavar="TASK", help="Only experts of this task.")] = None,
    method: Annotated[str | None, typer.Option(metavar="METHOD", help="Only experts of this method.")] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="BACKBONE", help="Only experts on this backbone: name or fingerprint.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the experts of LIBRARY."""
    from multigraft.library.store import Library

    found = Library(library).list(task=task, method=method, backbone=backbone)
    if as_json:
        print_json([_record(expert) for expert in found])
        return
    rows = [
        (expert.name, expert.card.task, str(expert.card.method["name"]), expert.card.backbone,
         ", ".join(f"{metric} {score:.1f}" for metric, score in expert.card.scores.items()),
         "yes" if expert.keys else "")
        for expert in found
    ]  # fmt: skip
    _print_table(("expert", "task", "method", "backbone", "dev scores", "keys"), rows)


@app.command()
def show(library: LibraryArgument, name: NameArgument, as_json: JsonOption = False) -> None:
    """Show an expert's card and tensors."""
    from multigraft.library.store import Library

    expert = Library(library).get(name)
    keys = expert.key_vectors()
    tensors = {key: list(tensor.shape) for key, tensor in sorted(expert.tensors().items())}
    record = _record(expert) | {"tensors": tensors, "key_vectors": None if keys is None else list(keys.shape)}
    if as_json:
        print_json(record)
        return
    card, shapes = record.pop("card"), record.pop("tensors")
    _print_table(("", ""), [(key, _said(value)) for key, value in (record | card).items()])
    _print_table(("tensor", "shape"), [(key, " x ".join(map(str, shape))) for key, shape in shapes.items()])


@app.command()
def remove(library: LibraryArgument, name: Annotated[list[str], typer.Argument(metavar="NAME...")]) -> None:
    """Take experts out of LIBRARY; the others stay as they are."""
    from multigraft.errors import unknown
    from multigraft.library.store import Library

    store = Library(library)
    there = store.names()
    for one in name:
        if one not in there:
            raise unknown("expert", one, there, library)
    for one in dict.fromkeys(name):
        store.remove(one)


@app.command()
def index(
    library: LibraryArgument,
    suite: Annotated[str, typer.Option(metavar="SUITE", help="Folder or name of the suite with the experts' tasks.")],
    keys: Annotated[int, typer.Option(min=1, help="Key vectors of an expert: training rows of its task.")] = 100,
    encoder: Annotated[
        str, typer.Option(metavar="MODEL", help="minilm, or a model of sentence-transformers.")
    ] = "minilm",
    tokens: Annotated[int, typer.Option(min=1, help="Where texts are cut, keys and queries alike.")] = 256,
    text: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="What of a row is embedded: instance, labels, template, or two of them, as instance+labels.",
        ),
    ] = "instance",
    field_names: Annotated[bool, typer.Option("--field-names", help="Put the names of fields before them.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give the experts of LIBRARY the key vectors by which `multigraft route` finds them."""
    from multigraft.library.retrieval.embedder import Embedder
    from multigraft.library.retrieval.keys import add_keys
    from multigraft.library.retrieval.text_formats import key_text
    from multigraft.library.store import Library
    from multigraft.tasks.suite import load_suite

    point_to_data(data)
    store, tasks, chosen = Library(library), load_suite(suite), key_text(text, field_names)
    found = add_keys(store, tasks, Embedder(encoder, tokens), chosen, keys)
    if as_json:
        print_json(found._asdict())
        return
    say(f"{keys} keys at most for {', '.join(found.experts)}")
    if found.left_out:
        say(f"left out, as the suite has no training rows of their task: {', '.join(found.left_out)}")


@app.command()
def verify(
    library: LibraryArgument,
    clean: Annotated[bool, typer.Option("--clean", help="Delete what writes that were cut off left behind.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find every damaged, missing or foreign file of LIBRARY, and the experts it affects; then the exit code is 1."""
    from multigraft.library.store import Library
    from multigraft.library.verify import clean as delete
    from multigraft.library.verify import verify as verified

    store = Library(library)
    deleted = delete(store) if clean else ()
    faults = verified(store)
    if as_json:
        print_json({"faults": [fault.model_dump(mode="json") for fault in faults], "deleted": list(deleted)})
    else:
        for path in deleted:
            say(f"deleted {path}")
        for fault in faults:
            affected = f"; affects {', '.join(fault.experts)}" if fault.experts else ""
            say(f"{fault.kind}: {fault.path}: {fault.what}{affected}")
        if not faults:
            say(f"all is well: {len(store.names())} experts")
    if faults:
        raise typer.Exit(1)


@app.command()
def stats(library: LibraryArgument, as_json: JsonOption = False) -> None:
    """Count what LIBRARY holds."""
    from multigraft.library.store import Library

    record = Library(library).stats().model_dump(mode="json")
    if as_json:
        print_json(record)
    else:
        _print_table(("", ""), [(key.replace("_", " "), _said(value)) for key, value in record.items()])


@app.command("import")
def import_peft(
    library: NewLibraryArgument,
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Folder with an adapter_config.json.")],
    name: NameArgument,
    task: Annotated[str | None, typer.Option(metavar="TASK", help="What it was trained on; default: NAME.")] = None,
    licence: Annotated[str, typer.Option(metavar="LICENCE", help="Of the data it was trained on.")] = "unknown",
    backbone: BackboneOption = None,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add a LoRA or a soft prompt that PEFT trained to LIBRARY."""
    from multigraft.library.exchange import import_checkpoint
    from multigraft.library.store import Library

    parcel = import_checkpoint(checkpoint, name, task=task or name, licence=licence, backbone=backbone)
    _print_names("added", [Library.create(library, exist_ok=True).add(*parcel, replace=replace)], as_json)


@app.command()
def export(
    library: LibraryArgument,
    name: NameArgument,
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="New folder for the checkpoint.")],
    backbone: BackboneOption = None,
) -> None:
    """Write a LoRA or a soft prompt of LIBRARY as a checkpoint that PEFT loads; an encoder's head is left out."""
    from multigraft.library.exchange import export_checkpoint
    from multigraft.library.store import Library

    export_checkpoint(Library(library).get(name), output, backbone=backbone)


@app.command()
def push(
    library: LibraryArgument,
    repository: RepositoryArgument,
    expert: ExpertOption = None,
    private: Annotated[bool, typer.Option("--private", help="If the repository is new, hide it from others.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Put experts of LIBRARY into a repository on the hub; those of other names there stay."""
    from multigraft.library import hub
    from multigraft.library.store import Library

    _print_names("pushed", hub.push(Library(library), repository, expert or (), private=private), as_json)


@app.command()
def pull(
    library: NewLibraryArgument,
    repository: RepositoryArgument,
    expert: ExpertOption = None,
    revision: Annotated[str | None, typer.Option(metavar="REVISION", help="Branch, tag or commit.")] = None,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add experts from a repository on the hub to LIBRARY."""
    from multigraft.library import hub
    from multigraft.library.parcel import add_all
    from multigraft.library.store import Library

    parcels = hub.pull(repository, expert or (), revision=revision)
    _print_names("added", add_all(Library.create(library, exist_ok=True), parcels, replace=replace), as_json)


def _record(expert: Expert) -> dict[str, Any]:
    record = {"name": expert.name, "bytes": expert.size, "weights": expert.weights, "keys": expert.keys}
    return record | {"card": expert.card.model_dump(mode="json")}


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_said(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value))
    return "" if value is None else str(value)


def _print_names(done: str, experts: Iterable[Expert], as_json: bool) -> None:
    names = [expert.name for expert in experts]
    if as_json:
        print_json(names)
    else:
        say(f"{done} {', '.join(names)}")


def _print_table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False, markup=False, emoji=False).print(table)
