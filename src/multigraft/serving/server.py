"""From a port to a server that runs until it is told to stop."""

from __future__ import annotations

import ipaddress
import signal
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from multigraft.errors import UserError

STOP = (signal.SIGINT, signal.SIGTERM)


def bind(host: str, port: int) -> socket.socket:
    """A socket at this address; port 0 takes any that is free. Raises UserError when the address is not to be had."""
    where = f"--host {host} --port {port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"no such address: {error.strerror}", where=where, fix="give another --host") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just left is free
        bound.bind(address)
    except OSError as error:
        bound.close()
        fix = "stop what uses it, or give another --port"
        raise UserError(f"cannot listen: {error.strerror}", where=where, fix=fix) from None
    return bound


def is_loopback(bound: socket.socket) -> bool:
    """Can only programs on this machine reach it?"""
    return ipaddress.ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback


def address_of(bound: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class Server(uvicorn.Server):
    """Tells when it is ready; once told to stop, it answers what it has and takes nothing new."""

    def __init__(self, app: FastAPI, *, timeout: float, ready: Callable[[], None]) -> None:
        """timeout: seconds that answers may take; ready: is called when requests are taken."""
        quiet = uvicorn.Config(
            app, lifespan="on", log_level="warning", access_log=False, server_header=False, ws="none",
            timeout_graceful_shutdown=int(timeout) + 5,
        )  # fmt: skip
        super().__init__(quiet)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._ready()


def serve(server: Server, bound: socket.socket) -> None:
    """Run until SIGINT or SIGTERM; the process goes on behind, as after any other work."""
    # uvicorn raises the signal again when it has stopped, for the handlers that were there before it.
    before = {number: signal.signal(number, lambda *_: None) for number in STOP}
    try:
        server.run([bound])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
