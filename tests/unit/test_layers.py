"""The house rule: dependencies point down only, and files stay readable in one sitting."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import multigraft

SOURCE = Path(multigraft.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
LONGEST = 350  # lines

# From the bottom up; a module may import from its own line and those above it here.
LAYERS = (
    ("__init__", "errors", "files", "settings", "registry", "runinfo"),
    ("tasks",),
    ("mixing",),
    ("batching",),
    ("backbones",),
    ("methods",),
    ("training",),
    ("library",),
    ("evaluation",),
    ("strategies",),
    ("reports",),
    ("serving",),
    ("cli",),
    ("__main__",),
)
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}


def part_of(file: Path) -> str:
    """The top-level part that a source file belongs to."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_parts(code: str, package: tuple[str, ...]) -> list[tuple[int, str]]:
    """Line and top-level part of every import of our own in `code`, which stands in `package`."""
    found: list[tuple[int, tuple[str, ...]]] = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, tuple(alias.name.split("."))) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            found += [(node.lineno, (*module, alias.name)) for alias in node.names]
    ours = [(line, name[1:]) for line, name in found if name[0] == "multigraft"]
    return [(line, name[0] if name and name[0] in HEIGHT else "__init__") for line, name in ours]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_imports_point_down(file: Path) -> None:
    part = part_of(file)
    assert part in HEIGHT, f"{part} has no place among the layers"
    package = ("multigraft", *file.relative_to(SOURCE).parent.parts)
    upward = [
        f"{file}:{line} imports {target}"
        for line, target in imported_parts(file.read_text(), package)
        if HEIGHT[target] > HEIGHT[part]
    ]
    assert not upward, "\n".join(upward)


def test_every_form_of_import_is_seen() -> None:
    code = """
import numpy, multigraft.cli.main
from multigraft import __version__, methods
from multigraft.training.loop import fit
from . import sampler
from .. import reports
from ..strategies.compare import compare
def late():
    from ..serving import engine
"""
    found = [part for _, part in imported_parts(code, ("multigraft", "mixing"))]
    expected = ["cli", "__init__", "methods", "training", "mixing", "reports", "strategies", "serving"]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_files_are_short(file: Path) -> None:
    lines = len(file.read_text().splitlines())
    assert lines <= LONGEST, f"{file} has {lines} lines"
