"""`multigraft holdout`: what to train on so that clusters can be tested as unseen, and whether a certificate holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multigraft.cli.common import DataOption, JsonOption, print_json
from multigraft.errors import UserError

if TYPE_CHECKING:
    from multigraft.tasks.holdout import Certificate

SHOWN = 12  # near-duplicates on the terminal; the certificate has all

SuitePlace = Annotated[
    str | None, typer.Argument(metavar="[SUITE]", help="Folder, file or name of a suite, as for `multigraft tasks`.")
]


def command(
    suite: SuitePlace = None,
    cluster: Annotated[list[str] | None, typer.Option(help="Cluster to hold out; repeatable.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Least Jaccard similarity of near-duplicate rows, 0 to 1; default 0.6.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="File to write the certificate to.")] = None,
    verify: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check this certificate against its suite instead.")
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compile the training mixture for testing clusters that it must not contain, with a certificate.

    Left out are the tasks of those clusters and of clusters declared excluded with them, tasks whose texts come from
    the same source, and single training rows that nearly repeat a held-out evaluation row. With --verify, exit with 1
    when the certificate does not hold.
    """
    from multigraft.cli.common import point_to_data

    point_to_data(data)
    if verify is not None:
        if cluster or output or threshold is not None:
            raise UserError("--verify takes clusters and threshold from the certificate", fix="leave the others out")
        _verify(verify, suite, as_json)
    elif suite is None or not cluster:
        raise UserError("a suite and a cluster are needed", fix="write, for example, holdout SUITE --cluster nli")
    else:
        _compile(suite, cluster, threshold, output, as_json)


def _compile(place: str, clusters: list[str], threshold: float | None, output: Path | None, as_json: bool) -> None:
    from rich.console import Console

    from multigraft.settings import build
    from multigraft.tasks.holdout import hold_out
    from multigraft.tasks.minhash import Nearness
    from multigraft.tasks.suite import load_suite

    nearness = build(Nearness, {} if threshold is None else {"threshold": threshold}, "--threshold")
    suite = load_suite(place)
    with Console(stderr=True).status("comparing rows"):
        certificate = hold_out(suite, clusters, nearness)
    if output is not None:
        certificate.write(output)
    if as_json:
        print_json(certificate.model_dump(mode="json"))
    else:
        _show(certificate)


def _verify(path: Path, place: str | None, as_json: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    from multigraft.tasks.holdout import read_certificate, verify
    from multigraft.tasks.suite import load_suite

    certificate = read_certificate(path)
    suite = load_suite(place or certificate.suite)
    with Console(stderr=True).status("comparing rows"):
        differences = verify(certificate, suite)
    if as_json:
        print_json({"holds": not differences, "differences": differences})
    else:
        console = Console(soft_wrap=True, highlight=False)
        for line in differences:
            console.print(Text(f"{path}: {line}", style="red"))
        verdict = f"does not hold: {len(differences)} differences" if differences else "holds"
        console.print(Text(f"{path}: the certificate {verdict}", style="red" if differences else "green"))
    if differences:
        raise typer.Exit(1)


def _show(certificate: Certificate) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)

    def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
        made = Table(title=Text(title), title_justify="left")
        for column in columns:
            made.add_column(column, overflow="fold", justify="right" if column in ("rows", "taken out") else "left")
        for row in rows:
            made.add_row(*map(Text, row))
        console.print(made)

    names, used = ", ".join(certificate.clusters), certificate.rows
    tested = [rows for rows in used if rows.task in certificate.held_out]
    trained = [(rows, len(certificate.dropped(rows.task))) for rows in used if rows.task in certificate.trained_on]
    left = sum(rows.rows - dropped for rows, dropped in trained)
    table(f"tested on: {names} of {certificate.suite}", ["task", "split", "rows"],
          [[rows.task, rows.split, f"{rows.rows:,}"] for rows in tested])  # fmt: skip
    table("left out", ["task", "reason"],
          [[entry.task, "\n".join(why.text for why in entry.reasons)] for entry in certificate.left_out])  # fmt: skip
    table("trained on", ["task", "rows", "taken out"],
          [[rows.task, f"{rows.rows:,}", str(dropped or "")] for rows, dropped in trained])  # fmt: skip
    if certificate.overlaps:
        nearest = sorted(certificate.overlaps, key=lambda overlap: -overlap.exact)[:SHOWN]
        table("training rows that resemble held-out rows", ["row", "resembles", "Jaccard (estimated)"],
              [[f"{o.task}/{o.split} {o.row}", f"{o.held_out_task}/{o.held_out_split} {o.held_out_row}",
                f"{o.exact:.2f} ({o.estimated:.2f})"] for o in nearest])  # fmt: skip
        if len(certificate.overlaps) > SHOWN:
            console.print(f"and {len(certificate.overlaps) - SHOWN} more, in the certificate")
    console.print(f"tasks: {len(certificate.held_out)} tested, {len(trained)} trained on with {left:,} rows; "
                  f"{len(certificate.overlaps):,} rows taken out", soft_wrap=True)  # fmt: skip
    console.print(f"seal: {certificate.seal}", soft_wrap=True)
