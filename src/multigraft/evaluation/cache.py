"""A cache of scores under keys of their content: model, bank, template, data and settings, never their names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from safetensors.numpy import load, save

from multigraft import __version__
from multigraft.errors import UserError
from multigraft.files import write_bytes

_DIGEST = hashlib.sha256().digest_size


def key(**parts: Any) -> str:
    """SHA-256 of the parts and of our version, in hexadecimal digits: other contents, another key.

    A part is made of None, truth values, numbers, text, bytes, arrays, tensors, records, data classes, lists or tuples
    (which are the same) and mappings by text, whose order does not matter. Raises TypeError for anything else, such as
    a path, which is a name and not a content.
    """
    encoded = json.dumps(_canonical({"version": __version__, "parts": parts}), separators=(",", ":"))
    return hashlib.sha256(encoded.encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """What is kept under a key."""

    record: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Cache:
    """A folder with one file per key, which several processes may share.

    A file is the SHA-256 of its key and of the rest, and then arrays as safetensors with the record in their header.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> Entry | None:
        """The entry, or None where there is none or its file is damaged. Raises UserError if it cannot be read."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", where=path) from None
        digest, body = data[:_DIGEST], data[_DIGEST:]
        if digest != _digest(key, body):
            return None
        # The arrays' format: eight bytes with the length of a JSON header, the header, and the values.
        header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
        return Entry(json.loads(header["__metadata__"]["record"]), load(body))

    def put(self, key: str, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Keep a record of JSON values, and arrays of numbers, in place of what was kept.

        Raises UserError if the file cannot be written, TypeError for other values, ValueError for NaN in the record.
        """
        text = json.dumps(dict(record), ensure_ascii=False, allow_nan=False)
        ordered = {name: np.asarray(array, order="C") for name, array in (arrays or {}).items()}
        for name, array in ordered.items():
            if array.dtype.kind not in "biuf":
                raise TypeError(f"array {name!r} holds {array.dtype}, not numbers")
        body = save(ordered, {"record": text})
        path = self._path(key)
        try:
            write_bytes(path, _digest(key, body) + body)
        except OSError as error:
            raise UserError(f"cannot be written: {error.strerror}", where=path) from None

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.scores"


def _digest(key: str, body: bytes) -> bytes:
    return hashlib.sha256(key.encode() + body).digest()


def _canonical(value: Any) -> Any:
    """JSON of one form for equal contents, whose lists begin with the kind of what follows."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return ["bytes", hashlib.sha256(value).hexdigest()]
    if isinstance(value, np.generic):
        return _canonical(value.item())
    if isinstance(value, torch.Tensor):
        plain = value.detach().cpu().contiguous()
        return _array("tensor", plain.dtype, plain.shape, plain.flatten().view(torch.uint8).numpy().tobytes())
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return _array("array", value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, BaseModel):
        return _record(value, list(type(value).model_fields))
    if is_dataclass(value) and not isinstance(value, type):
        return _record(value, [field.name for field in fields(value)])
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return ["mapping", *([name, _canonical(value[name])] for name in sorted(value))]
    if isinstance(value, list | tuple):
        return ["list", *map(_canonical, value)]
    raise TypeError(f"a {type(value).__name__} is no part of a key")


def _record(value: object, names: list[str]) -> list[Any]:
    return ["record", type(value).__name__, _canonical({name: getattr(value, name) for name in names})]


def _array(kind: str, dtype: object, shape: tuple[int, ...], data: bytes) -> list[Any]:
    return [kind, str(dtype), list(shape), hashlib.sha256(data).hexdigest()]
