from __future__ import annotations

import os
import subprocess
import sys
from errno import EACCES, EIO, EISDIR, ENOSPC
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from multigraft import __version__
from multigraft.cli.common import Interrupted, apply_overrides, keeping, print_json, run
from multigraft.cli.main import build_app
from multigraft.errors import UserError

HEAVY = ("torch", "transformers", "pydantic", "numpy", "datasets", "sklearn", "matplotlib", "pandas")


def app_that(raises: BaseException | None = None) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def graft(count: int = 1) -> None:
        if raises is not None:
            raise raises

    @app.command()
    def prune() -> None: ...

    return app


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from multigraft.cli.common import run; from multigraft.cli.main import build_app\n"
        "code = run(build_app(), ['--help'])\n"
        f"print('HEAVY', [name for name in {HEAVY} if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: multigraft" in done.stdout
    assert "HEAVY []" in done.stdout


def test_module_and_version() -> None:
    done = subprocess.run([sys.executable, "-m", "multigraft", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"multigraft {__version__}\n"


def test_every_verb_is_one_word() -> None:
    names = [command.name for command in build_app().registered_commands]
    assert "train" in names
    assert [name for name in names if not (name or "").isalpha()] == []


def test_no_verb_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(build_app(), []) == 0
    assert "Usage: multigraft" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["graf"], "error: No such command 'graf'. Did you mean 'graft'?"),
        (["graft", "--cuont", "2"], "error: No such option: --cuont"),
        (["graft", "--count", "two"], "error: Invalid value for '--count': Input should be a valid integer"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app_that(), arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(message)
    assert shown.err.count("\n") == 1


def test_an_app_without_its_verb_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    app = app_that()
    app.info.no_args_is_help = True
    assert run(app, []) == 2
    shown = capsys.readouterr()
    assert "Commands" in shown.out
    assert shown.err == ""


def test_user_error_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    long = UserError(f"a very [red]long[/red]\nmessage {'x' * 200}", where="a.yaml:3")
    assert run(app_that(long), ["graft"]) == 2
    assert capsys.readouterr().err == f"error: a.yaml:3: a very [red]long[/red] message {'x' * 200}\n"


def test_interrupt_says_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Interrupted) as caught, keeping("step 30 is kept; continue with --resume"):
        raise KeyboardInterrupt
    assert run(app_that(caught.value), ["graft"]) == 130
    assert capsys.readouterr().err == "interrupted: step 30 is kept; continue with --resume\n"
    assert run(app_that(KeyboardInterrupt()), ["graft"]) == 130
    assert capsys.readouterr().err.startswith("interrupted: ")


@pytest.mark.parametrize(("code", "name"), [(ENOSPC, "disk.bin"), (EACCES, "locked"), (EISDIR, "folder")])
def test_a_place_that_cannot_be_written_is_one_line(code: int, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app_that(OSError(code, os.strerror(code), name)), ["graft"]) == 2
    assert capsys.readouterr().err == f"error: {name}: {os.strerror(code)}; give another place, or make room\n"
    with pytest.raises(OSError, match="Input/output"):  # not the user's doing
        run(app_that(OSError(EIO, os.strerror(EIO))), ["graft"])


def test_exit_codes_pass_through_and_bugs_keep_their_traceback() -> None:
    assert run(app_that(), ["graft"]) == 0
    assert run(app_that(typer.Exit(3)), ["graft"]) == 3
    with pytest.raises(ZeroDivisionError):
        run(app_that(ZeroDivisionError()), ["graft"])


@pytest.mark.parametrize("lines", [1, 100_000], ids=["still buffered", "while printing"])
def test_a_reader_that_went_away_is_no_error(lines: int) -> None:
    code = (
        "import sys, typer; from multigraft.cli.common import run; app = typer.Typer()\n"
        f"@app.command()\ndef many():\n    input()\n    for i in range({lines}): print(i)\n"
        "sys.exit(run(app, []))"
    )
    pipe = subprocess.PIPE
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    writer = subprocess.Popen(
        [sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=buffered
    )
    assert writer.stdout is not None
    writer.stdout.close()
    writer.stdout = None
    _, complaints = writer.communicate("go\n")
    assert (writer.returncode, complaints) == (1, "")


def test_json_is_readable_and_refuses_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"é": [1]})
    assert capsys.readouterr().out == '{\n "é": [\n  1\n ]\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        print_json(float("inf"))


def test_overrides_reach_keys_and_list_entries() -> None:
    data: dict[str, Any] = {"training": {"lr": 1.0}, "rows": [{"method": "pal"}, {"method": "lora"}], "empty": None}
    changed = apply_overrides(
        data,
        ["training.lr=5e-5", "rows.1.method=low_rank", "empty.key={a: [1, 2]}", "new.deep.key=text=x", "rows.0=~"],
    )
    assert changed == {
        "training": {"lr": 5e-5},
        "rows": [None, {"method": "low_rank"}],
        "empty": {"key": {"a": [1, 2]}},
        "new": {"deep": {"key": "text=x"}},
    }
    assert data["training"] == {"lr": 1.0}
    assert apply_overrides(data, None) == data


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.lr", "--set training.lr: not of the form key.path=value; write, for example, training.epochs=3"),
        ("=3", "--set =3: not of the form key.path=value; write, for example, training.epochs=3"),
        ("a..b=3", "--set a..b=3: not of the form key.path=value; write, for example, training.epochs=3"),
        (
            "training.lr.x=3",
            "--set training.lr.x=3: 'training.lr' is the plain value 1.0 and has no 'x'; set training.lr itself",
        ),
        ("rows.1.a=3", "--set rows.1.a=3: 'rows' is a list and has no entry '1'; its entries: 0 to 0"),
        ("rows.-1=3", "--set rows.-1=3: 'rows' is a list and has no entry '-1'; its entries: 0 to 0"),
        ("rows.0.a.b=[", "--set rows.0.a.b=[:1: not valid YAML"),
    ],
)
def test_bad_overrides_say_what_is_wrong(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        apply_overrides({"training": {"lr": 1.0}, "rows": [{}]}, [override])
    assert str(caught.value).startswith(message)


@given(st.text(alphabet="ab.=01[{:\n-", max_size=12))
def test_any_override_is_applied_or_a_user_error(override: str) -> None:
    try:
        assert isinstance(apply_overrides({"a": {"b": 1}, "b": [0, [1]]}, [override]), dict)
    except UserError as error:
        assert str(error).startswith("--set ")
