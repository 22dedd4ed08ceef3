"""The documentation site: what its menu and its pages lead to is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
CODE = re.compile(r"^( *)(`{3,})[^\n]*\n.*?^\1\2$|`[^`\n]*`", re.M | re.S)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.M)
MODULE = re.compile(r"^::: multigraft\.(\S+)$", re.M)


def in_menu(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for inner in entry.values() if isinstance(entry, dict) else entry:
            yield from in_menu(inner)


def source_of(module: str) -> Path:
    path = ROOT / "src/multigraft" / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def anchors(page: Path) -> set[str]:
    """As Python-Markdown makes them of headings."""
    titles = HEADING.findall(CODE.sub(lambda code: code[0].strip("`") if "\n" not in code[0] else "", page.read_text()))
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def test_the_menu_has_every_page_and_no_other() -> None:
    menu = list(in_menu(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(menu) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(CODE.sub("", page.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.is_file(), f"{page.name} leads to {link}"
        if anchor.startswith("multigraft."):
            module, _, name = anchor.removeprefix("multigraft.").rpartition(".")
            assert f"::: multigraft.{module}\n" in target.read_text(), f"{page.name} leads to {link}"
            assert re.search(rf"^(?:class|def) {name}\b", source_of(module).read_text(), re.M), link
        elif anchor:
            assert anchor in anchors(target), f"{page.name} leads to {link}"


def test_the_reference_is_of_modules_that_exist() -> None:
    modules = [module for page in PAGES for module in MODULE.findall(page.read_text())]
    assert modules
    assert len(set(modules)) == len(modules)
    assert [module for module in modules if not source_of(module).is_file()] == []
