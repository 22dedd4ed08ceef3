"""Models that were tuned whole, as folders: their shared weights are merged, what tasks have of their own is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import save_file
from torch import Tensor

from multigraft.errors import UserError
from multigraft.files import new_folder, write_json
from multigraft.library.card import Card
from multigraft.library.merging.base import Held, Merge, Score, combine
from multigraft.library.merging.files import open_model, write_model
from multigraft.library.merging.heads import mean_shares
from multigraft.library.merging.models import Merged, check_output, mix
from multigraft.library.model_folder import ModelFile, build_model, load_shared, load_started, read_tensors
from multigraft.library.text_folder import FILE, TextModelFile, build_text_model
from multigraft.methods.joint import JointModel
from multigraft.methods.text_model import TextModel
from multigraft.settings import build, read_yaml
from multigraft.tasks.task import Task

SHARED, WEIGHTS, CARD = "shared.safetensors", "weights.safetensors", "card.json"
_FREE = {"suite", "backbone", "seed", "precision", "max_length", "max_input", "max_target", "tasks", "experts"}


class Tuned(NamedTuple):
    """A folder of a tuned model, and what stands in its `model.json` or `text_model.json`."""

    folder: Path
    file: ModelFile | TextModelFile

    @property
    def experts(self) -> tuple[str, ...]:
        """The names of its tasks or experts."""
        if isinstance(self.file, TextModelFile):
            return self.file.experts
        return tuple(task["name"] for task in self.file.tasks)

    def own(self, name: str) -> dict[str, Tensor]:
        """What one of them has of its own. Raises UserError when it is damaged."""
        path = self.folder / "experts" / name / WEIGHTS
        return read_tensors(path) if path.exists() or isinstance(self.file, ModelFile) else {}

    def card(self, name: str) -> Card:
        """Its card. Raises UserError when it is damaged."""
        path = self.folder / "experts" / name / CARD
        return build(Card, read_yaml(path), path)


def open_tuned(folder: Path) -> Tuned:
    """A model folder of either kind. Raises UserError when it is none; whether it is tuned stands in its file."""
    if (folder / FILE).exists():
        return Tuned(folder, build(TextModelFile, read_yaml(folder / FILE), folder / FILE))
    return Tuned(folder, build(ModelFile, read_yaml(folder / "model.json"), folder / "model.json"))


def merge_tuned(
    merge: Merge,
    models: Sequence[Tuned],
    output: Path,
    *,
    weights: Sequence[float] | None = None,
    statistics: Sequence[Path] | None = None,
    score: Score | None = None,
) -> Merged:
    """Merge tuned models of one backbone, method and kind into a new model folder.

    What is merged are the differences of the shared weights to the backbone that training started from, which is
    loaded. Tasks come together: the module and head of one that several models have are averaged by the weights, those
    of others are kept as they are. Raises UserError for models that do not go together, and as `mix`.
    """
    check_output(output)
    _check_alike(models)
    model, record = _together(models)
    mixture = mix(
        merge,
        [open_model(each.folder / SHARED) for each in models],
        [str(each.folder) for each in models],
        base={name: Held(parameter) for name, parameter in model.shared()},
        weights=weights,
        statistics=None if statistics is None else [open_model(path) for path in statistics],
        score=score,
    )
    merged = Merged(mixture.weights, mixture.interference())
    own = {name: _average(models, name, mixture.weights) for name in model.names}
    with new_folder(output) as folder:
        write_model(folder / SHARED, mixture.kinds(), mixture.pieces)
        load_shared(folder / SHARED, dict(model.shared()))  # which was the base until here
        fingerprint = model.backbone.weights_fingerprint()
        write_json(
            folder / (FILE if isinstance(record, TextModelFile) else "model.json"), record.model_dump(mode="json")
        )
        for name, tensors in own.items():
            place = folder / "experts" / name
            place.mkdir(parents=True)
            if tensors:
                save_file(tensors, place / WEIGHTS)
            card = next(each for each in models if name in each.experts).card(name)
            parents = tuple(each.folder.name for each in models)
            changed = {"backbone_fingerprint": fingerprint, "scores": {}, "parents": parents}
            write_json(place / CARD, card.model_copy(update=changed).model_dump(mode="json"))
    return merged


def _check_alike(models: Sequence[Tuned]) -> None:
    first = models[0]
    kept = first.file.model_dump(exclude=_FREE)
    for each in models[1:]:
        own = each.file.model_dump(exclude=_FREE)
        odd = sorted(key for key in own.keys() | kept.keys() if own.get(key) != kept.get(key))
        if odd:
            raise UserError(
                f"has {odd[0]} {own.get(odd[0])!r}, {first.folder} {kept.get(odd[0])!r}",
                where=each.folder,
                fix="merge models that were tuned from one backbone in one way",
            )


def _together(models: Sequence[Tuned]) -> tuple[JointModel | TextModel, ModelFile | TextModelFile]:
    """The model before training, with the tasks of all, and what is to stand in its file."""
    first = models[0]
    file = first.file
    backbone = load_started(first.folder, file.backbone, file.pretrained, file.seed, file.backbone_fingerprint)
    if isinstance(file, TextModelFile):
        names = tuple(dict.fromkeys(name for each in models for name in each.experts))
        text = build_text_model(backbone, names, file.method, tuned=True, seed=file.seed)
        return text, file.model_copy(update={"experts": names})
    tasks = _all_tasks(models)
    built = [build(Task, task, first.folder) for task in tasks.values()]
    joint = build_model(
        backbone, built, file.method, pooling=file.pooling, pooler=file.pooler, tuned=True, seed=file.seed
    )
    return joint, file.model_copy(update={"tasks": tuple(tasks.values())})


def _all_tasks(models: Sequence[Tuned]) -> dict[str, dict[str, object]]:
    tasks: dict[str, dict[str, object]] = {}
    for each in models:
        for task in each.file.tasks if isinstance(each.file, ModelFile) else ():
            before = tasks.setdefault(task["name"], task)
            if before["output"] != task["output"]:
                what = f"the task {task['name']!r} has other answers than in another model"
                raise UserError(what, where=each.folder, fix="rename one of the tasks")
    return tasks


def _average(models: Sequence[Tuned], name: str, weights: Sequence[float]) -> dict[str, Tensor]:
    """The module and head of one task, averaged over the models that have it."""
    owners = [(each, weight) for each, weight in zip(models, weights) if name in each.experts]
    found: list[Mapping[str, Tensor]] = [each.own(name) for each, _ in owners]
    shapes = [{key: tuple(tensor.shape) for key, tensor in tensors.items()} for tensors in found]
    for (each, _), shape in zip(owners, shapes):
        if shape != shapes[0]:
            raise UserError(f"the tensors of {name!r} are not those of the other models", where=each.folder)
    if len(found) == 1:
        return dict(found[0])
    shares = mean_shares([weight for _, weight in owners])
    return {
        key: combine([tensors[key].float() for tensors in found], shares).to(tensor.dtype)
        for key, tensor in found[0].items()
    }
