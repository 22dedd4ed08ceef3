from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from multigraft import files
from multigraft.files import new_folder, recover_folder, write_bytes, write_json, write_text


class Crash(BaseException):
    """Stands for a process that dies: nothing may catch it on the way."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(path: Path, content: str) -> None:
    with new_folder(path) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text(content)


def test_writes_whole_files_and_makes_folders(tmp_path: Path) -> None:
    write_bytes(tmp_path / "deep" / "a", b"\x00\x01")
    write_text(tmp_path / "deep" / "b", "é")
    write_json(tmp_path / "deep" / "c", {"é": 1})
    assert (tmp_path / "deep" / "a").read_bytes() == b"\x00\x01"
    assert (tmp_path / "deep" / "b").read_bytes() == b"\xc3\xa9"
    assert json.loads((tmp_path / "deep" / "c").read_text()) == {"é": 1}
    assert names(tmp_path / "deep") == ["a", "b", "c"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def crash(*_: object) -> None:
        raise Crash

    monkeypatch.setattr(*((os, "fsync", crash) if step == "fsync" else (Path, "replace", crash)))
    with pytest.raises(Crash):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_not_a_number_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert names(tmp_path) == []


def test_new_folder_appears_whole_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "out" / "run"
    fill(path, "one")
    fill(path, "two")
    assert (path / "sub" / "a.txt").read_text() == "two"
    assert names(path.parent) == ["run"]


def test_failure_in_the_block_keeps_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "run"
    fill(path, "old")
    with pytest.raises(Crash), new_folder(path) as folder:
        (folder / "half").write_text("half")
        raise Crash
    assert names(path) == ["sub"]
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_process_that_dies_between_renames_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """After any number of the two renames, nothing cleaned up, one complete folder is found again."""
    path = tmp_path / "run"
    fill(path, "old")
    replace, done = Path.replace, 0

    def dying(self: Path, target: Path) -> Path:
        nonlocal done
        if done == renames:
            raise Crash
        done += 1
        return replace(self, target)

    def dead(*_: object, **__: object) -> None:
        if done == renames:
            raise Crash

    monkeypatch.setattr(Path, "replace", dying)
    monkeypatch.setattr(files.shutil, "rmtree", dead)
    with pytest.raises(Crash):
        fill(path, "new")
    monkeypatch.undo()

    recover_folder(path)
    assert (path / "sub" / "a.txt").read_text() == ("new" if renames == 2 else "old")
    fill(path, "next")  # left-overs do not disturb the next attempt
    assert (path / "sub" / "a.txt").read_text() == "next"
    assert names(tmp_path) == ["run"]
