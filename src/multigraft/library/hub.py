"""Experts to and from the Hugging Face hub: a repository holds each in a folder of its own, `experts/NAME/`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from multigraft.errors import UserError, unknown
from multigraft.library.parcel import CARD, KEYS, WEIGHTS, Parcel, read_parcel, write_parcel
from multigraft.library.store import Expert, Library, check_name

_FOLDER = "experts"


def push(
    library: Library, repository: str, names: Sequence[str] = (), *, private: bool = False, api: Any = None
) -> list[Expert]:
    """Put experts, or without names all, into a repository in one commit; those of other names there stay.

    The repository is made if need be. Raises UserError for an expert that is not there or damaged, and in one line for
    what the hub says, such as a missing token.
    """
    experts = [library.get(name) for name in names or library.names()]
    if not experts:
        raise UserError("the library is empty", where=library.folder, fix="add an expert first")
    with TemporaryDirectory() as folder, _hub(repository, api) as hub:
        for expert in experts:
            write_parcel(Path(folder) / expert.name, expert)
        message = f"{len(experts)} expert{'s' if len(experts) > 1 else ''}: {', '.join(e.name for e in experts[:5])}"
        hub.create_repo(repository, private=private or None, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=folder, path_in_repo=_FOLDER, commit_message=message)
    return experts


def pull(repository: str, names: Sequence[str] = (), *, revision: str | None = None, api: Any = None) -> list[Parcel]:
    """Experts, or without names all, from a repository, at a branch, tag or commit.

    Raises UserError for an expert that is not there or damaged, and in one line for what the hub says.
    """
    for name in names:
        check_name(name)
    # A name may hold what is taken for a pattern: all that it could mean is fetched, and the name alone is read.
    patterns = [name.replace("[", "?") for name in names] or ["*"]
    wanted = [f"{_FOLDER}/{pattern}/{file}" for pattern in patterns for file in (WEIGHTS, CARD, KEYS)]
    with TemporaryDirectory() as folder:
        with _hub(repository, api) as hub:
            hub.snapshot_download(repository, revision=revision, allow_patterns=wanted, local_dir=folder)
        there = sorted(path.parent.name for path in Path(folder).glob(f"{_FOLDER}/*/{CARD}"))
        if not there:
            raise UserError("holds no such experts", where=repository, fix="give a repository that push made")
        for name in names:
            if name not in there:
                raise unknown("expert", name, there, repository)
        return [read_parcel(Path(folder) / _FOLDER / name, name) for name in names or there]


@contextmanager
def _hub(repository: str, api: Any) -> Iterator[Any]:
    """The hub; what it says no to is one line."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    token = "log in with `hf auth login`, or set HF_TOKEN"
    try:
        yield api or HfApi()
    except LocalTokenNotFoundError:
        raise UserError("the hub asks for a token", where=repository, fix=token) from None
    except RevisionNotFoundError:
        raise UserError("no such revision", where=repository, fix="give a branch, a tag or a commit") from None
    except RepositoryNotFoundError:
        raise UserError(
            "no such repository, or not yours to see", where=repository, fix=f"check its name; {token}"
        ) from None
    except HFValidationError as error:
        raise UserError(_line(error), where=repository, fix="give it as owner/name") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        raise UserError(_line(error), where=repository, fix=token if status in (401, 403) else None) from None
    except (HTTPError, LocalEntryNotFoundError, ConnectionError) as error:
        raise UserError(f"the hub cannot be reached: {_line(error)}", where=repository) from None


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
