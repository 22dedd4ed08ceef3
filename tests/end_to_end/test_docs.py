"""The documents say what is true: their files, snippets and commands are run, in the order of the page.

In an empty folder that holds `recipes/` as a checkout does, for every fenced block of a document:
one with `title="relative/path"` becomes that file, `python` is executed (one namespace per document), and
of `console` the lines that start with `$ ` are run and must succeed; its other lines are output shown to
the reader. `no-run` after the language leaves a block out. `python tests/end_to_end/test_docs.py PAGE.md`
runs one document by itself, in the current folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)(?P=ticks)$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    language: str
    title: str | None
    runs: bool
    line: int  # of its first line of content
    body: str


def blocks_of(text: str) -> list[Block]:
    """All blocks that are a file, a snippet or a command; others only show something."""
    found = []
    for match in FENCE.finditer(text):
        language, _, rest = match["info"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        line = text.count("\n", 0, match.start("body")) + 1
        block = Block(
            language, title[1] if title else None, "no-run" not in rest.split(), line, textwrap.dedent(match["body"])
        )
        if title or language in {"python", "console"}:
            found.append(block)
    return found


def commands_of(body: str) -> str:
    """The commands of a console block as one script; a backslash at the end of a line continues it."""
    lines, continued = [], False
    for line in body.splitlines():
        if continued or line.startswith("$ "):
            lines.append(line if continued else line[2:])
            continued = line.endswith("\\")
    return "\n".join(lines)


def run_document(document: Path) -> None:
    """Run the blocks of `document` in the current folder; the first failure raises."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(document.read_text(encoding="utf-8")):
        if not block.runs:
            continue
        if block.title:
            path = Path(block.title)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, encoding="utf-8")
        elif block.language == "python":
            # Empty lines before the snippet make a traceback name the line of the document.
            exec(compile("\n" * (block.line - 1) + block.body, str(document), "exec"), namespace)
        else:
            script = commands_of(block.body)
            print(f"{document}:{block.line}:\n{script}", flush=True)
            subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_document(document: Path, tmp_path: Path, home: Path) -> None:
    blocks = blocks_of(document.read_text(encoding="utf-8"))
    if not blocks:
        pytest.skip("has no code blocks")
    running = sum(block.runs for block in blocks)
    assert len(blocks) - running < running, "most of what a document shows must be run"
    if (ROOT / "recipes").is_dir():
        shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "MULTIGRAFT_HOME": str(home),
        "COLUMNS": "120",
    }
    done = subprocess.run(
        [sys.executable, __file__, str(document)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{document.name} fails\n{done.stdout}\n{done.stderr}"


def test_blocks_are_found_as_written() -> None:
    page = textwrap.dedent(
        """
        ```python
        x = 1
        ```
        - in a list
          ```yaml title="a/b.yaml"
          key:
            inner: 1
          ```
        ````console no-run
        $ make demo
        ````
        ```
        shown only
        ```
        """
    )
    assert blocks_of(page) == [
        Block("python", None, True, 3, "x = 1\n"),
        Block("yaml", "a/b.yaml", True, 7, "key:\n  inner: 1\n"),
        Block("console", None, False, 11, "$ make demo\n"),
    ]


def test_commands_are_told_from_output() -> None:
    assert commands_of("$ echo a \\\n    b\na b\n$ true\ndone\n") == "echo a \\\n    b\ntrue"


def test_failures_are_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text('```text title="f.txt"\nhello\n```\n```python\nassert open("f.txt").read() == "hello\\n"\n```\n')
    run_document(page)
    page.write_text("```console\n$ false\n$ true\n```\n")
    with pytest.raises(subprocess.CalledProcessError):
        run_document(page)
    page.write_text("```python\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError):
        run_document(page)


if __name__ == "__main__":
    run_document(Path(sys.argv[1]).resolve())
