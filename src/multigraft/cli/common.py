"""What every verb of the command line shares: how a run ends, common options, overrides of a recipe."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from errno import EACCES, EDQUOT, EEXIST, EISDIR, ENAMETOOLONG, ENOSPC, ENOTDIR, EPERM, EROFS
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text
from typer.main import get_command

from multigraft.errors import UserError

if TYPE_CHECKING:
    from multigraft.settings import Record

T = TypeVar("T", bound="Record")

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY.PATH=VALUE",
        help="Override a value of the recipe; repeatable. VALUE is YAML; lists go by number: rows.0.method=pal",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Folder that $MULTIGRAFT_DATA stands for in suites; default: that variable."),
]

SuiteArgument = Annotated[str, typer.Argument(metavar="SUITE", help="Embedded name or folder of the tasks.")]
OutputOption = Annotated[Path, typer.Option(metavar="FOLDER", help="Where runs and results are kept.")]
BackboneOption = Annotated[str | None, typer.Option(metavar="NAME", help="Hub id, folder or embedded name.")]

BAD_INPUT = 2
# A place that the machine does not give.
_REFUSED = frozenset({ENOSPC, EDQUOT, EACCES, EPERM, EROFS, EISDIR, ENOTDIR, EEXIST, ENAMETOOLONG})
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class Interrupted(Exception):
    """Ctrl-C at a moment where something was kept; the text says what, and how to continue."""


@contextmanager
def keeping(what: str) -> Iterator[None]:
    """Inside the block Ctrl-C ends the command with one line: `what` is kept and how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(what) from None


def run(app: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Bad input is one line on stderr and code 2, Ctrl-C one line and code 130, a reader that went away
    (`| head`) is no error; a file or folder that cannot be read or written, or a full disk, is bad input too. Any
    other exception is a bug and keeps its traceback.
    """
    try:
        code = get_command(app).main(args=arguments, prog_name="multigraft", standalone_mode=False)
        sys.stdout.flush()
    except UserError as error:
        _labelled("error", str(error), "red")
        return BAD_INPUT
    except typer.TyperException as error:
        if message := error.format_message():  # empty where the help was shown in its place
            _labelled("error", message, "red")
        return BAD_INPUT
    except Interrupted as stop:
        _labelled("interrupted", str(stop), "yellow")
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered has no reader: without this, Python would complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        _labelled("error", f"{error.filename or 'a file'}: {error.strerror}; give another place, or make room", "red")
        return BAD_INPUT
    if code == INTERRUPTED:  # typer turns KeyboardInterrupt into this code
        _labelled("interrupted", "nothing is left half-written; run the same command again", "yellow")
    return code if isinstance(code, int) else 0


def _labelled(label: str, message: str, colour: str) -> None:
    line = " ".join(part.strip() for part in message.splitlines())
    Console(stderr=True).print(Text(f"{label}: {line}", style=colour), soft_wrap=True)


def point_to_data(folder: Path | None) -> None:
    """Let `$MULTIGRAFT_DATA` in suites stand for `folder`, if one was given. Raises UserError when it is none."""
    if folder is None:
        return
    if not folder.is_dir():
        raise UserError("not a folder", where=f"--data {folder}", fix="give the folder that the suite's files lie in")
    os.environ["MULTIGRAFT_DATA"] = str(folder.resolve())


def say(line: str) -> None:
    """Print a line on stdout as it is, whatever marks or length it has."""
    Console(highlight=False, markup=False, emoji=False).print(line, soft_wrap=True)


def note(line: str) -> None:
    """Print a line on stderr as it is: what is said beside the result."""
    Console(stderr=True, highlight=False, markup=False, emoji=False).print(line, soft_wrap=True)


def announcer(quiet: bool) -> Callable[[str], None]:
    """What tells how far a long run is; nothing when it is to be quiet."""
    return (lambda line: None) if quiet else note


def settings_of(
    kind: type[T], defaults: Mapping[str, Any], suite: str, recipe: Path | None, backbone: str | None,
    overrides: list[str] | None, data: Path | None, changes: Mapping[str, Any],
) -> T:  # fmt: skip
    """The settings of a verb on one suite: of its recipe file or the defaults, with changes. Raises UserError."""
    from multigraft.settings import build
    from multigraft.strategies.comparison import ALONE, read_recipe

    point_to_data(data)
    given = read_recipe(recipe) if recipe else defaults
    values = {key: value for key, value in given.items() if key not in ALONE} | {"suite": suite, **changes}
    if backbone is not None:
        values["backbone"] = {**values.get("backbone", {}), "name": backbone}
    return build(kind, apply_overrides(values, overrides), recipe or "settings")


def print_json(value: Any) -> None:
    """Print `value` as JSON on stdout, for programs to read; NaN is refused."""
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def apply_overrides(data: dict[str, Any], overrides: Iterable[str] | None) -> dict[str, Any]:
    """A copy of `data` with each `key.path=value` set; the value is read as YAML.

    A missing key is added: the strict record that is built from the result knows which keys exist.
    Raises UserError for an override without a path or value, and for a path that goes through a plain value.
    """
    from multigraft.settings import parse_yaml

    data = copy.deepcopy(data)
    for override in overrides or ():
        where = f"--set {override}"
        path, equals, text = override.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise UserError("not of the form key.path=value", where=where, fix="write, for example, training.epochs=3")
        value = parse_yaml(text, where)
        node: Any = data
        for depth, key in enumerate(keys[:-1]):
            slot = _slot(node, key, keys[:depth], where)
            if isinstance(node, dict) and node.get(slot) is None:
                node[slot] = {}
            node = node[slot]
        node[_slot(node, keys[-1], keys[:-1], where)] = value
    return data


def _slot(node: Any, key: str, path: list[str], where: str) -> str | int:
    """The key or index under which `node`, found at `path`, keeps `key`."""
    name = ".".join(path)
    if isinstance(node, dict):
        return key
    if not isinstance(node, list):
        raise UserError(
            f"{name!r} is the plain value {node!r} and has no {key!r}", where=where, fix=f"set {name} itself"
        )
    if not (key.isdecimal() and int(key) < len(node)):
        last = f"0 to {len(node) - 1}" if node else "none"
        raise UserError(f"{name!r} is a list and has no entry {key!r}", where=where, fix=f"its entries: {last}")
    return int(key)
