"""What a name on the command line leads to: an expert, a tuned model, or the files of a full model."""

from __future__ import annotations

from pathlib import Path

from multigraft.errors import UserError, unknown
from multigraft.library.catalogue import FILE as CATALOGUE
from multigraft.library.merging.files import INDEX, SINGLE
from multigraft.library.merging.tuned import Tuned, open_tuned
from multigraft.library.model_folder import find_models
from multigraft.library.parcel import CARD, Parcel, read_experts
from multigraft.library.store import Library
from multigraft.library.text_folder import trained_folder

Source = Parcel | Tuned | Path


def read_source(reference: str) -> Source:
    """What to merge. `PATH`: a safetensors file, a folder that transformers or `train` wrote, or of one expert.
    `PATH:NAME`: an expert of a library, or of a folder that holds several.

    Raises UserError when it leads nowhere, or to several experts.
    """
    path, name = _split(reference)
    if (path / CATALOGUE).exists():
        library = Library(path)
        if name is None:
            raise UserError("a library: which expert?", where=path, fix=f"add one of its names, {path}:NAME")
        expert = library.get(name)
        return Parcel(expert.name, expert.tensors(), expert.card)
    if path.is_file() or (path / SINGLE).exists() or (path / INDEX).exists():
        return path
    if not (path / CARD).exists():
        tuned = _tuned(path)
        if tuned is not None and name is not None:
            raise UserError("a tuned model is merged whole", where=reference, fix=f"give {path}")
        if tuned is not None:
            return tuned
    return _one(read_experts(path), name, path)


def _split(reference: str) -> tuple[Path, str | None]:
    folder, colon, name = reference.rpartition(":")
    if Path(reference).exists() or not (colon and Path(folder).is_dir()):
        if not Path(reference).exists():
            raise UserError("no such file or folder", where=reference, fix="give a model, or FOLDER:EXPERT")
        return Path(reference), None
    return Path(folder), name


def _tuned(path: Path) -> Tuned | None:
    """The tuned model in a folder; None where the backbone was frozen, or there are several."""
    text = trained_folder(str(path))
    folders = [text] if text is not None else find_models(path)
    found = open_tuned(folders[0])
    if len(folders) > 1:
        if found.file.tuned:
            names = ", ".join(str(folder) for folder in folders)
            raise UserError("holds several tuned models", where=path, fix=f"give one of {names}")
        return None
    return found if found.file.tuned else None


def _one(experts: list[Parcel], name: str | None, path: Path) -> Parcel:
    found = {expert.name: expert for expert in experts}
    if name is None and len(found) == 1:
        return experts[0]
    if name is None:
        raise UserError(f"holds {len(found)} experts", where=path, fix=f"choose one: {path}:{next(iter(found))}")
    if name not in found:
        raise unknown("expert", name, found, path)
    return found[name]
