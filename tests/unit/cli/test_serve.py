"""`multigraft serve`: bad input is one line with code 2, before a model is loaded."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path
from typing import Any

import pytest

from multigraft.cli.common import run
from multigraft.cli.main import build_app

CLI = build_app()


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("MULTIGRAFT_TOKEN", raising=False)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a refusal."""
    assert run(CLI, ["serve", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_a_folder_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no model in here" in said(capsys, str(tmp_path), "--port", "0")
    assert "no model in here" in said(capsys, str(tmp_path / "nowhere"), "--port", "0")


def test_a_port_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"--port {port}: cannot listen: Address already in use" in said(capsys, str(tmp_path), "--port", port)


@pytest.mark.parametrize("token", ["", "two words", "schlüssel", "tab\t"])
def test_a_token_that_no_header_carries(tmp_path: Path, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--token: not a token; give letters" in said(capsys, str(tmp_path), "--port", "0", "--token", token)


def test_what_the_extra_brings_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec

    def without(name: str, *others: Any) -> Any:
        return None if name == "uvicorn" else find(name, *others)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    assert "uvicorn is not installed; pip install 'multigraft[serve]'" in said(capsys, str(tmp_path))


@pytest.mark.parametrize(
    "option",
    [("--port", "70000"), ("--max-batch", "0"), ("--max-wait-ms", "-1"), ("--timeout", "0"), ("--max-queue", "0")],
)
def test_options_out_of_range(tmp_path: Path, option: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert option[0] in said(capsys, str(tmp_path), *option)


def test_the_whole_network_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(CLI, ["serve", str(tmp_path), "--host", "0.0.0.0", "--port", "0"]) == 2
    assert "no token is set" in capsys.readouterr().err
    assert "no token" not in said(capsys, str(tmp_path), "--host", "0.0.0.0", "--port", "0", "--token", "t")
