"""What the documentation site needs beyond its theme: links out of `docs/`, blocks, and comments as descriptions.

`mkdocs.yml` names this file as a hook of MkDocs, and `Comments` as an extension of Griffe, which reads docstrings.
"""

from __future__ import annotations

import ast
import posixpath
import re
import textwrap
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
COPIES = "files"  # folder of the site for what pages link to elsewhere in the repository
OUTSIDE = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)")
NO_RUN = re.compile(r"^( *`{3,}\w+) no-run\b", re.M)  # for tests/end_to_end/test_docs.py, and no option of a block
COLUMNS = re.compile(r"\S {2,}\S")
COMMENT = re.compile(r"#\s*([^\"']+)$")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Copy to the site what pages link to outside of `docs/`."""
    outside = {_target(file, link) for file in files.documentation_pages() for link in _links(file.content_string)}
    for path in sorted(filter(None, outside)):
        copy = File.generated(config, f"{COPIES}/{path}", abs_src_path=str(ROOT / path))
        copy.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(copy)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let such links lead to the copies; take out what is said to the tests."""

    def to_copy(found: re.Match[str]) -> str:
        path = _target(page.file, found[1])
        up = posixpath.relpath(".", posixpath.dirname(page.file.src_uri) or ".")
        return found[0] if path is None else f"]({posixpath.join(up, COPIES, path)}"

    return NO_RUN.sub(r"\1", OUTSIDE.sub(to_copy, markdown))


def _links(markdown: str) -> list[str]:
    return [found[1] for found in OUTSIDE.finditer(markdown)]


def _target(file: File, link: str) -> str | None:
    """The file of the repository that a link of a page in `docs/` means; None when it means one in `docs/` itself."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(file.src_uri), link))
    return None if path.startswith(("docs/", "..")) else path


class Comments(griffe.Extension):
    """Fields are described by `Field(description=...)` or by a comment at the end of their line."""

    def on_attribute(self, *, attr: griffe.Attribute, **kwargs: Any) -> None:
        """Make that the docstring of a field that has none; an empty one shows at least its type."""
        if attr.docstring is not None or not attr.parent.is_class or attr.name.startswith("_"):
            return
        said = _description(attr.source) or _comment(attr.lines[-1])
        attr.docstring = griffe.Docstring(said, parent=attr)
        if isinstance(attr.value, griffe.ExprCall):  # the text stands below already
            attr.value.arguments = [one for one in attr.value.arguments if getattr(one, "name", "") != "description"]

    def on_module(self, *, mod: griffe.Module, **kwargs: Any) -> None:
        """Keep the columns of what is laid out in columns, such as the files of a folder."""
        if mod.docstring is not None:
            parts = mod.docstring.value.split("\n\n")
            mod.docstring.value = "\n\n".join(
                textwrap.indent(one, "    ") if _in_columns(one) else one for one in parts
            )


def _in_columns(text: str) -> bool:
    return all(COLUMNS.search(line) for line in text.splitlines())


def _description(source: str) -> str | None:
    statement = ast.parse(textwrap.dedent(source)).body[0]
    call = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
    given = call.keywords if isinstance(call, ast.Call) else []
    return next((ast.literal_eval(one.value) for one in given if one.arg == "description"), None)


def _comment(line: str) -> str:
    found = COMMENT.search(line)
    return "" if found is None or found[1].startswith(("type:", "noqa", "fmt:")) else found[1].strip()
