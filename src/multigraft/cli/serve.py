"""`multigraft serve`: a model folder or a library behind an HTTP server."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Annotated

import typer

from multigraft.cli.common import JsonOption, note, print_json
from multigraft.errors import UserError

_NEEDED = ("fastapi", "uvicorn", "prometheus_client")


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER_OR_LIBRARY", help="Folder that train wrote, or of a library of experts.")
    ],
    expert: Annotated[
        list[str] | None,
        typer.Option("--expert", metavar="NAME", help="Only this task or expert; repeatable. Default: all."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; by default this machine alone can ask.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes any that is free.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="MULTIGRAFT_TOKEN",
            help="What requests must carry, as `Authorization: Bearer TOKEN`. Others on this machine may see options.",
        ),
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Questions answered together, at most.")] = 32,
    max_wait_ms: Annotated[
        float, typer.Option(min=0, help="Milliseconds that a question waits for others to be answered with.")
    ] = 5.0,
    max_queue: Annotated[int, typer.Option(min=1, help="Questions that wait; more get 503.")] = 256,
    max_bytes: Annotated[int, typer.Option(min=1, help="Bytes of a request's body; more get 413.")] = 65536,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds until a question is given up with 503.")] = 30.0,
    as_json: JsonOption = False,
) -> None:
    """Answer over HTTP what FOLDER_OR_LIBRARY answers: predict, generate, route; with a page to try it on at /.

    Questions that come at about the same time are answered in one batch, also those to different tasks.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} is not installed", fix="pip install 'multigraft[serve]'")
    from multigraft.serving.guard import checked_token
    from multigraft.serving.server import address_of, bind, is_loopback

    token = None if token is None else checked_token(token)
    bound = bind(host, port)
    where = address_of(bound)
    with bound:
        if token is None and not is_loopback(bound):
            note(f"no token is set, and {where} is open to the network: everybody who reaches it can ask")
        from multigraft.serving.batching import Limits
        from multigraft.serving.http import create_app
        from multigraft.serving.loading import load_engine
        from multigraft.serving.server import Server, serve

        engine = load_engine(folder, expert)
        limits = Limits(batch=max_batch, wait=max_wait_ms / 1000, queue=max_queue, timeout=timeout)
        app = create_app(engine, limits, token=token, max_bytes=max_bytes)

        def ready() -> None:
            if as_json:
                print_json({"url": where, "offers": engine.offers, "tasks": [entry.name for entry in engine.entries]})
            else:
                count, noun = len(engine.entries), "task" if engine.kind == "model" else "expert"
                print(f"{engine.name}: {count} {noun}{'s' * (count != 1)} at {where}; Ctrl-C stops")
            sys.stdout.flush()  # whoever waits for this line reads a pipe

        serve(Server(app, timeout=timeout, ready=ready), bound)
    note("stopped; what was asked is answered")
