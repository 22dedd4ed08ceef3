"""Full models on the disk: tensors read in parts, and written one after another.

A model is a .safetensors file, or a folder as transformers writes it, with `model.safetensors` or with shards and
their index. No more of it is in memory than what is asked for.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from multigraft.errors import UserError
from multigraft.files import sync, write_json
from multigraft.library.merging.base import Shape
from multigraft.settings import read_yaml

SINGLE = "model.safetensors"
INDEX = f"{SINGLE}.index.json"
TYPES = {
    "U64": torch.uint64, "I64": torch.int64, "F64": torch.float64, "C64": torch.complex64, "F32": torch.float32,
    "U32": torch.uint32, "I32": torch.int32, "BF16": torch.bfloat16, "F16": torch.float16, "U16": torch.uint16,
    "I16": torch.int16, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in TYPES.items()}
_ORDER = {dtype: place for place, dtype in enumerate(TYPES.values())}  # in which the safetensors library writes them

Kind = tuple[torch.dtype, Shape]  # type and shape of a tensor


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, from the byte `offset` on."""

    path: Path
    offset: int
    dtype: torch.dtype
    shape: Shape

    def block(self, start: int, stop: int) -> Tensor:
        """Reads them. Raises UserError when the file has gone or is shorter than it was."""
        values = torch.empty(stop - start, dtype=self.dtype)
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self.offset + start * self.dtype.itemsize)
                place = values.view(torch.uint8).numpy().data
                while place:
                    read = file.readinto(place)
                    if not read:
                        raise UserError("ends too early", where=self.path, fix="was it changed meanwhile?")
                    place = place[read:]
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", where=self.path) from None
        return values


def open_model(path: Path) -> dict[str, Stored]:
    """The tensors of a model by name; only headers are read. Raises UserError for what is none, or damaged."""
    if not path.is_dir():
        return _open_file(path)
    if (path / SINGLE).exists():
        return _open_file(path / SINGLE)
    if not (path / INDEX).exists():
        raise UserError(f"holds neither {SINGLE} nor {INDEX}", where=path, fix="give a model in safetensors files")
    index = read_yaml(path / INDEX)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise UserError("has no 'weight_map' of tensors and files", where=path / INDEX)
    strange = sorted({name for name in places.values() if Path(name).name != name})
    if strange:
        raise UserError(f"names a file in another folder, {strange[0]!r}", where=path / INDEX)
    found = {
        tensor: stored for name in sorted(set(places.values())) for tensor, stored in _open_file(path / name).items()
    }
    lost = sorted(set(places) - set(found))
    if lost:
        raise UserError(f"tensor {lost[0]!r} is in none of the files", where=path / INDEX, fix="get them again")
    return found


def _open_file(path: Path) -> dict[str, Stored]:
    try:
        with safe_open(path, framework="pt"):
            pass  # it checks the header, and that the file is as long as that says
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}", where=path) from None
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"not a safetensors file, or damaged: {reason}", where=path) from None
    header.pop("__metadata__", None)
    odd = sorted(name for name, entry in header.items() if entry["dtype"] not in TYPES)
    if odd:
        raise UserError(f"tensor {odd[0]!r} is of type {header[odd[0]]['dtype']}, which is not merged", where=path)
    return {
        name: Stored(path, 8 + size + entry["data_offsets"][0], TYPES[entry["dtype"]], tuple(entry["shape"]))
        for name, entry in header.items()
    }


def write_model(
    path: Path,
    kinds: Mapping[str, Kind],
    pieces: Callable[[str], Iterable[Tensor]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file tensor by tensor, byte for byte as the library's own `save_file` would.

    `pieces(name)`: the flat parts of a tensor, in order. The file is there when all of it is, or not at all.
    """
    names = sorted(kinds, key=lambda name: (_ORDER[kinds[name][0]], name))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(_header(names, kinds, metadata))
            for name in names:
                left = math.prod(kinds[name][1])
                for piece in pieces(name):
                    file.write(piece.contiguous().view(torch.uint8).numpy().data)
                    left -= piece.numel()
                assert not left, f"{name}: {left} entries are missing"
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def _header(names: Iterable[str], kinds: Mapping[str, Kind], metadata: Mapping[str, str] | None) -> bytes:
    entries: dict[str, object] = {} if metadata is None else {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name in names:
        start, end = end, end + _bytes(kinds[name])
        dtype, shape = kinds[name]
        entries[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes(kind: Kind) -> int:
    return math.prod(kind[1]) * kind[0].itemsize


def write_folder(
    folder: Path, kinds: Mapping[str, Kind], pieces: Callable[[str], Iterable[Tensor]], shard: int | None = None
) -> list[str]:
    """Write a model into a folder as transformers reads it, and give the names of its files.

    shard: bytes of the largest file, beyond which there are several with an index; a larger tensor has one to itself.
    """
    shards: list[dict[str, Kind]] = [{}]
    size = 0
    for name, kind in kinds.items():
        size += _bytes(kind)
        if shard is not None and size > shard and shards[-1]:
            shards.append({})
            size = _bytes(kind)
        shards[-1][name] = kind
    total = len(shards)
    stem = SINGLE.removesuffix(".safetensors")
    names = [f"{stem}-{n:05}-of-{total:05}.safetensors" for n in range(1, total + 1)] if total > 1 else [SINGLE]
    for name, part in zip(names, shards):
        write_model(folder / name, part, pieces, {"format": "pt"})
    if total > 1:
        places = {tensor: name for name, part in zip(names, shards) for tensor in part}
        whole = {"total_size": sum(map(_bytes, kinds.values()))}
        write_json(folder / INDEX, {"metadata": whole, "weight_map": places})
    return names
