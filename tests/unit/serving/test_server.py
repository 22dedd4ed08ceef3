"""From a port to a server, and to its end: what was asked is answered, and a killed one leaves the library whole."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from tests.unit.serving.conftest import QUICK
from tests.unit.serving.test_http import Held

from multigraft.errors import UserError
from multigraft.library.store import Library
from multigraft.library.verify import verify
from multigraft.serving.http import create_app
from multigraft.serving.loading import load_engine
from multigraft.serving.server import Server, address_of, bind, is_loopback


def test_an_address_that_is_taken_or_is_none() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        first.listen()
        assert address_of(first) == f"http://127.0.0.1:{port}/"
        assert is_loopback(first)
        with pytest.raises(UserError, match=f"--port {port}: cannot listen: Address already in use; stop what uses it"):
            bind("127.0.0.1", port)
    with pytest.raises(UserError, match="no such address"):
        bind("no.such.host.invalid", 0)
    with bind("0.0.0.0", 0) as everywhere:
        assert not is_loopback(everywhere)


def test_a_server_that_is_told_to_stop_answers_what_it_has(model: Path) -> None:
    engine, ready = Held(load_engine(model)), threading.Event()
    bound = bind("127.0.0.1", 0)
    address = bound.getsockname()
    server = Server(create_app(engine, QUICK), timeout=60, ready=ready.set)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(server.run, [bound])
        assert ready.wait(60)
        asked = pool.submit(httpx2.post, f"{address_of(bound)}predict", json={"text": "a"}, timeout=60)
        assert engine.busy.wait(60)
        server.handle_exit(signal.SIGTERM, None)
        while _takes_connections(address):
            pass
        assert not asked.done()
        engine.may_go.set()
        assert list(asked.result().json()["answers"]) == ["feeling", "amount"]
        running.result()


def _takes_connections(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 60).close()
    except ConnectionError:
        return False
    return True


@pytest.mark.parametrize("sign", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_library_outlives_its_server(library: Path, sign: signal.Signals) -> None:
    options = ["--expert", "reply", "--port", "0", "--json"]
    command = [sys.executable, "-m", "multigraft", "serve", str(library), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        assert process.stdout is not None
        lines = []
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())
            assert lines[-1], "the server has ended"
        listening = json.loads("".join(lines))
        assert listening["offers"] == ["generate"]
        with httpx2.Client(base_url=listening["url"], timeout=60) as client:
            assert client.post("/generate", json={"text": "a cat"}).status_code == 200
            process.send_signal(sign)
            _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == (0 if sign == signal.SIGTERM else -signal.SIGKILL)
    assert ("stopped; what was asked is answered" in errors) == (sign == signal.SIGTERM)
    assert verify(Library(library)) == ()
    assert [entry.name for entry in load_engine(library, ["reply"]).entries] == ["reply"]
