"""The command `multigraft`: finds the verbs and runs the one that was asked for."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Annotated

import typer

from multigraft import __version__, cli
from multigraft.cli.common import run


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"multigraft {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Share one pretrained language model among many tasks, and find out which way of sharing is best for yours."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def build_app() -> typer.Typer:
    """The command line with every verb in this package: a module with an `app` of its own, or a `command`."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.callback(invoke_without_command=True)(_root)
    for found in pkgutil.iter_modules(cli.__path__):
        verb = importlib.import_module(f"{cli.__name__}.{found.name}")
        if hasattr(verb, "app"):
            app.add_typer(verb.app, name=found.name)
        elif hasattr(verb, "command"):
            app.command(found.name)(verb.command)
    return app


def main() -> None:
    """Entry point of the command line."""
    raise SystemExit(run(build_app()))
