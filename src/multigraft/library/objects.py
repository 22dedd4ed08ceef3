"""Files that lie under the SHA-256 of their bytes: they are added and taken away, never changed."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from multigraft.errors import UserError
from multigraft.files import write_bytes

_KEY = re.compile(r"[0-9a-f]{64}")
_ADVICE = "run multigraft library verify, and add the expert again"
_PICKLES = (b"\x80", b"PK\x03\x04")  # how a plain one begins, and a zip that torch.save wrote


class Objects:
    """A folder of safetensors files: `ab/abcdef….safetensors`. Nothing in it may be a link."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Where the file of a key lies. Raises UserError for what is no SHA-256."""
        if not _KEY.fullmatch(key):
            raise UserError(f"not a SHA-256: {key!r}", where=self.folder, fix="run multigraft library verify")
        return self.folder / key[:2] / f"{key}.safetensors"

    def key(self, path: Path) -> str | None:
        """The key whose place a file of the folder lies at, or None."""
        key = path.name.removesuffix(".safetensors")
        return key if _KEY.fullmatch(key) and path == self.path(key) else None

    def write(self, data: bytes) -> str:
        """Keep `data` and give its key; what is there already is left, but counts as new, and mended if damaged."""
        key = hashlib.sha256(data).hexdigest()
        path = self._own(key)
        try:
            whole = _digest(path) == key
            os.utime(path)
        except FileNotFoundError:  # or taken away at this moment
            whole = False
        if not whole:
            write_bytes(path, data)
        return key

    def has(self, key: str) -> bool:
        """Is there a file at the place of this key?"""
        return self._own(key).exists()

    def read(self, key: str) -> bytes:
        """The bytes of a key. Raises UserError when the file is missing, a link, or holds other bytes."""
        path = self._own(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise UserError("the file is missing", where=path, fix=_ADVICE) from None
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", where=path, fix=_ADVICE) from None
        found = hashlib.sha256(data).hexdigest()
        if found != key:
            kind = "a pickle, which is never opened" if data.startswith(_PICKLES) and not _sound(data) else "damaged"
            raise UserError(f"{kind}: its SHA-256 is {found[:12]}…, not its name", where=path, fix=_ADVICE)
        return data

    def size(self, key: str) -> int:
        """Bytes of a file. Raises UserError when it is missing."""
        try:
            return self.path(key).stat().st_size
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", where=self.path(key), fix=_ADVICE) from None

    def remove(self, key: str) -> None:
        """Delete a file, if it is there."""
        self._own(key).unlink(missing_ok=True)

    def stored(self) -> Iterator[str]:
        """The keys of all files that lie where they belong."""
        return (key for path in sorted(self.folder.glob("??/*")) if (key := self.key(path)) is not None)

    def _own(self, key: str) -> Path:
        path = self.path(key)
        for place in (self.folder, path.parent, path):
            if place.is_symlink():
                raise UserError("a link, which may lead out of the library", where=place, fix="remove it")
        return path


def parse_tensors(data: bytes, where: object) -> dict[str, Tensor]:
    """The tensors in the bytes of a safetensors file. Raises UserError for a pickle and for a damaged header."""
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        if data.startswith(_PICKLES):
            what = "a pickle, which may run code when it is opened and therefore is not"
            raise UserError(what, where=where, fix="save the tensors as safetensors") from None
        reason = " ".join(str(error).split())
        raise UserError(f"not a safetensors file, or damaged: {reason}", where=where) from None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sound(data: bytes) -> bool:
    try:
        parse_tensors(data, None)
    except UserError:
        return False
    return True
