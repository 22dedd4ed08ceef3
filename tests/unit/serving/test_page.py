"""The page in a browser: what is served, a routed text with its answers, and the map."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.unit.serving.conftest import QUICK

from multigraft.serving.http import create_app
from multigraft.serving.loading import load_engine
from multigraft.serving.server import Server, address_of, bind

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


def seen(folder: Path, place: Path, path: str, token: str | None = None) -> str:
    """The page as a browser has it once its script has run, without style and script."""
    ready, bound = threading.Event(), bind("127.0.0.1", 0)
    experts = ["feeling", "amount", "animal"]
    server = Server(create_app(load_engine(folder, experts), QUICK, token=token), timeout=60, ready=ready.set)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.run, [bound])
        assert ready.wait(60)
        try:
            command = [BROWSER, *OPTIONS, f"--user-data-dir={place}", "--virtual-time-budget=20000", "--dump-dom"]
            page = subprocess.run([*command, address_of(bound) + path], capture_output=True, text=True, timeout=120)
        finally:
            server.should_exit = True
        running.result()
    return re.sub(r"<(style|script)>.*?</\1>", "", page.stdout, flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no browser")
def test_a_browser_shows_routes_answers_and_the_map(library: Path, tmp_path: Path) -> None:
    page = seen(library, tmp_path, "?text=the+cat+is+good+why")
    assert "feeling has 1 of 1 votes" in page
    answers = page[page.index('id="answers"') :]
    assert answers.index("feeling") < answers.index("amount")  # the routed one comes first
    assert re.search(r"(bad|good)</td><td>\d+\.\d %", answers)
    assert page.count('role="img"') == 2
    assert "POST /route" in page
    assert re.search(r'id="fault"[^>]*hidden', page)


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no browser")
def test_a_browser_is_asked_for_the_token(library: Path, tmp_path: Path) -> None:
    page = seen(library, tmp_path, "", token="secret")
    assert "feeling" not in page
    assert re.search(r'<form id="door">', page)
    assert re.search(r'<form id="ask" hidden', page)
