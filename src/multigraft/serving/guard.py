"""Who may ask, and what is counted of every request: around the application, before a body is read."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multigraft.errors import UserError
from multigraft.serving.metrics import Metrics

OPEN = ("/health",)  # to everybody
OTHER = "other"  # what paths that lead nowhere are counted as


def checked_token(token: str) -> str:
    """A token that a header can carry. Raises UserError for another."""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError("not a token", where="--token", fix="give letters, digits and signs of ASCII, without spaces")
    return token


class Guard:
    """Lets through who has the token, and counts. Without a token it lets everybody through.

    Who comes to one of `pages` without the token gets what `page` makes of the status 401: it asks for the token.
    """

    def __init__(
        self, app: ASGIApp, *, token: str | None, metrics: Metrics, paths: Collection[str], pages: Collection[str],
        page: Callable[[int], Response],
    ) -> None:  # fmt: skip
        self._app, self._metrics = app, metrics
        self._token = None if token is None else token.encode()
        self._paths, self._pages, self._page = frozenset(paths), frozenset(pages), page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        path = scope["path"]
        try:
            app = self._app if path in OPEN or self._knows(scope) else self._refusal(path)
            await app(scope, receive, watched)
        finally:
            known = path if path in self._paths else OTHER
            self._metrics.request(known, status, time.perf_counter() - started)

    def _knows(self, scope: Scope) -> bool:
        if self._token is None:
            return True
        kind, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), self._token)

    def _refusal(self, path: str) -> Response:
        wanted = {"error": "a token is wanted: Authorization: Bearer TOKEN"}
        refusal = self._page(401) if path in self._pages else JSONResponse(wanted, 401)
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal
