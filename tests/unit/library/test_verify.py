"""Verification finds every flipped byte, every missing file and every file that does not belong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from multigraft.errors import UserError
from multigraft.library.card import Card
from multigraft.library.store import Library
from multigraft.library.verify import SETTLED, clean, verify

MakeCard = Callable[..., Card]


@pytest.fixture
def library(memory_folder: Path, make_card: MakeCard) -> Library:
    """Three experts, the last two with the same tensors; one was removed, so that the catalogue has free space."""
    library = Library.create(memory_folder / "library")
    for name, value in (("gone", 9.0), ("a", 1.0), ("b", 2.0), ("c", 2.0)):
        keys = np.ones((2, 4), np.float32) if name == "a" else None
        library.add(name, {"x": torch.full((3,), value)}, make_card(task=name), keys)
    library.remove("gone")
    assert verify(library) == ()
    return library


def make_old(path: Path) -> None:
    os.utime(path, (0, path.lstat().st_mtime - 2 * SETTLED))


def test_a_flipped_byte_in_any_file_is_found(library: Library) -> None:
    paths = sorted(path for path in library.folder.rglob("*") if path.is_file())
    assert len(paths) == 4
    for path in paths:
        whole = path.read_bytes()
        step = max(1, len(whole) // 60)
        for at in {*range(0, min(100, len(whole)), 3), *range(0, len(whole), step)}:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
            faults = verify(library)
            assert faults, f"byte {at} of {path.name}"
            assert faults[0].path == str(path.relative_to(library.folder))
            assert faults[0].kind == "damaged"
            for companion in library.folder.glob("catalogue.sqlite-*"):
                companion.unlink()
        path.write_bytes(whole)
        assert verify(library) == ()


def test_faults_name_the_experts_they_affect(library: Library) -> None:
    experts = {expert.name: expert for expert in library.list()}
    place = {name: library.objects.path(expert.weights) for name, expert in experts.items()}
    assert place["b"] == place["c"]
    place["b"].unlink()
    place["a"].write_bytes(place["a"].read_bytes()[:-1])
    found = {fault.kind: (fault.path, fault.experts) for fault in verify(library)}
    assert found == {
        "missing": (str(place["b"].relative_to(library.folder)), ("b", "c")),
        "damaged": (str(place["a"].relative_to(library.folder)), ("a",)),
    }


def test_a_damaged_row_is_not_served(library: Library) -> None:
    path = library.folder / "catalogue.sqlite"
    path.write_bytes(path.read_bytes().replace(b'"task":"b"', b'"task":"x"'))
    (fault,) = verify(library)
    assert (fault.path, fault.experts) == ("catalogue.sqlite", ("b",))
    with pytest.raises(UserError, match="the row of the expert 'b' is damaged"):
        library.get("b")
    assert library.get("a").tensors()
    with pytest.raises(UserError, match="nothing was deleted"):
        clean(library)


def test_what_a_write_left_behind_is_foreign_once_it_is_old(library: Library) -> None:
    key = library.objects.write(b"never referred to")
    young = library.objects.path(key)
    half = young.with_name(f".{young.name}.123.456.tmp")
    half.write_bytes(b"half")
    draft = library.folder / ".catalogue.sqlite.1.2.tmp"
    draft.write_bytes(b"half")
    assert [fault.kind for fault in verify(library)] == ["damaged"]  # complete, but no safetensors file
    young.unlink()
    key = library.objects.write(library.objects.read(library.get("a").weights) + b"")
    assert library.objects.path(key).exists()
    assert verify(library) == ()
    assert clean(library) == ()
    for path in (half, draft):
        make_old(path)
    assert {(fault.kind, fault.path) for fault in verify(library)} == {
        ("foreign", str(path.relative_to(library.folder))) for path in (half, draft)
    }
    assert set(clean(library)) == {str(path.relative_to(library.folder)) for path in (half, draft)}
    assert verify(library) == ()


def test_an_object_that_nobody_refers_to_is_cleaned_and_can_come_back(library: Library, make_card: MakeCard) -> None:
    expert = library.get("a")
    data = library.objects.read(expert.weights)
    with library.catalogue.writing() as table:
        table.delete("a")  # as a process does that is killed before it deletes the files
    assert verify(library) == ()
    left = [library.objects.path(key) for key in (expert.weights, expert.keys) if key]
    for path in left:
        make_old(path)
    assert sorted(fault.path for fault in verify(library)) == sorted(str(p.relative_to(library.folder)) for p in left)
    library.objects.write(data)  # somebody is about to add it again: it is young
    assert len(clean(library)) == 1
    library.add("again", expert.tensors(), make_card())
    assert verify(library) == ()


def test_a_file_removed_during_a_write_is_written_again(
    library: Library, make_card: MakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, removed = library.objects.write, []

    def write_and_lose(data: bytes) -> str:
        key = write(data)
        if not removed:
            removed.append(key)
            library.objects.remove(key)
        return key

    monkeypatch.setattr(library.objects, "write", write_and_lose)
    library.add("new", {"x": torch.ones(5)}, make_card())
    assert removed
    assert verify(library) == ()


def test_strange_files_and_links_are_foreign_at_once_and_kept(library: Library) -> None:
    (library.folder / "notes.txt").write_text("x")
    (library.folder / "objects" / "link").symlink_to("/")
    found = {(fault.kind, fault.path) for fault in verify(library)}
    assert found == {("foreign", "notes.txt"), ("foreign", "objects/link")}
    assert clean(library) == ()
    assert (library.folder / "notes.txt").exists()


def test_a_lost_catalogue_accuses_no_file(library: Library) -> None:
    (library.folder / "catalogue.sqlite").write_bytes(b"none")
    (fault,) = verify(library)
    assert fault.path == "catalogue.sqlite"
    with pytest.raises(UserError, match="cannot be used"):
        clean(library)
