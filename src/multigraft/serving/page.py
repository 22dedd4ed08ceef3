"""The playground: one page that needs nothing but itself and the server that it comes from."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from starlette.responses import HTMLResponse

_STYLE, _SCRIPT = "{{ style }}", "{{ script }}"  # where they go in page.html


def page_response(status: int) -> HTMLResponse:
    """The page; only its own script may run in it."""
    html, digest = _page()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(html, status, {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"})


@cache
def _page() -> tuple[str, str]:
    """The HTML, and the SHA-256 of its script as a policy names it."""
    script = _part("multigraft.serving", "page.js")
    style = _part("multigraft.reports", "style.css") + _part("multigraft.serving", "page.css")
    html = _part("multigraft.serving", "page.html").replace(_STYLE, style).replace(_SCRIPT, script)
    return html, base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _part(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")
