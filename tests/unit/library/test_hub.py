"""To the hub and from it, with a hub that is a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from multigraft.errors import UserError
from multigraft.library.card import Card
from multigraft.library.hub import pull, push
from multigraft.library.parcel import add_all
from multigraft.library.store import Library

MakeCard = Callable[..., Card]


class FolderApi:
    """What is asked of `huggingface_hub.HfApi`."""

    def __init__(self, folder: Path, says: Exception | None = None) -> None:
        self.folder, self.says = folder, says
        self.made: list[tuple[str, Any]] = []

    def create_repo(self, repo_id: str, *, private: bool | None = None, exist_ok: bool = False) -> None:
        assert exist_ok
        if self.says:
            raise self.says
        self.made.append((repo_id, private))

    def upload_folder(self, *, repo_id: str, folder_path: str, path_in_repo: str, commit_message: str) -> None:
        assert commit_message
        shutil.copytree(folder_path, self.folder / repo_id / path_in_repo, dirs_exist_ok=True)

    def snapshot_download(
        self, repo_id: str, *, revision: str | None, allow_patterns: list[str], local_dir: str
    ) -> None:
        if self.says:
            raise self.says
        for path in (self.folder / repo_id).rglob("*"):
            name = str(path.relative_to(self.folder / repo_id))
            if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                (Path(local_dir) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, Path(local_dir) / name)


@pytest.fixture
def library(memory_folder: Path, make_card: MakeCard) -> Library:
    library = Library.create(memory_folder / "library")
    library.add("a [1]", {"x": torch.rand(3)}, make_card(task="one"), np.eye(2, dtype=np.float32))
    library.add("b", {"x": torch.rand(3)}, make_card(task="two", parents=("a [1]",)))
    return library


def test_what_is_pushed_is_pulled(library: Library, memory_folder: Path) -> None:
    api = FolderApi(memory_folder / "hub")
    assert [expert.name for expert in push(library, "me/experts", ["b"], private=True, api=api)] == ["b"]
    assert [expert.name for expert in push(library, "me/experts", api=api)] == ["a [1]", "b"]
    assert api.made == [("me/experts", True), ("me/experts", None)]
    assert (memory_folder / "hub/me/experts/experts/b/card.json").exists()
    other = Library.create(memory_folder / "other")
    add_all(other, pull("me/experts", ["a [1]"], api=api))
    assert other.names() == ("a [1]",)
    add_all(other, pull("me/experts", api=api), replace=True)
    for mine, theirs in zip(library.list(), other.list(), strict=True):
        assert (mine.name, mine.card, mine.weights, mine.keys) == (
            theirs.name,
            theirs.card,
            theirs.weights,
            theirs.keys,
        )


def test_what_is_not_there_or_damaged_is_refused(library: Library, memory_folder: Path) -> None:
    api = FolderApi(memory_folder / "hub")
    push(library, "me/experts", api=api)
    with pytest.raises(UserError, match="unknown expert 'c'"):
        pull("me/experts", ["b", "c"], api=api)
    with pytest.raises(UserError, match="not a name of an expert"):
        pull("me/experts", ["../b"], api=api)
    with pytest.raises(UserError, match="holds no such experts"):
        pull("me/none", api=api)
    weights = memory_folder / "hub/me/experts/experts/b/weights.safetensors"
    weights.write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="a pickle"):
        pull("me/experts", api=api)
    with pytest.raises(UserError, match="unknown expert 'c'"):
        push(library, "me/experts", ["c"], api=api)
    with pytest.raises(UserError, match="the library is empty"):
        push(Library.create(memory_folder / "empty"), "me/experts", api=api)


def answered(status: int) -> Any:
    return SimpleNamespace(status_code=status, headers={}, request=None)


@pytest.mark.parametrize(
    ("says", "line"),
    [
        (LocalTokenNotFoundError("no"), "me/x: the hub asks for a token; log in with `hf auth login`"),
        (
            RepositoryNotFoundError("404", response=answered(404)),
            "me/x: no such repository, or not yours to see; check",
        ),
        (RevisionNotFoundError("404", response=answered(404)), "me/x: no such revision"),
        (HFValidationError("bad id\nmore"), "me/x: bad id; give it as owner/name"),
        (HfHubHTTPError("403 Forbidden.\nmore", response=answered(403)), "me/x: 403 Forbidden; log in"),
        (HfHubHTTPError("500 Error", response=answered(500)), "me/x: 500 Error"),
        (OfflineModeIsEnabled("offline"), "me/x: the hub cannot be reached: offline"),
        (LocalEntryNotFoundError("no network\nmore"), "me/x: the hub cannot be reached: no network"),
    ],
)
def test_what_the_hub_says_is_one_line(library: Library, memory_folder: Path, says: Exception, line: str) -> None:
    api = FolderApi(memory_folder, says)
    for call in (lambda: push(library, "me/x", api=api), lambda: pull("me/x", api=api)):
        with pytest.raises(UserError) as error:
            call()
        assert str(error.value).startswith(line)
        assert "\n" not in str(error.value)
