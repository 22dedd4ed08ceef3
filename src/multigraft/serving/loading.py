"""From a folder to an engine: a trained model with heads, a trained text model, or a library of experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from multigraft.backbones.load import Backbone, load_backbone
from multigraft.errors import UserError, unknown
from multigraft.evaluation.answers import Answerer, Asked, Question
from multigraft.library.catalogue import FILE as CATALOGUE
from multigraft.library.load import load_experts, load_joint, split_head
from multigraft.library.retrieval.index import Index
from multigraft.library.similarity import TENSOR, embeddings, similarities
from multigraft.library.store import Expert, Library
from multigraft.library.text_folder import load_text_model, trained_folder
from multigraft.methods.base import method_record, parse_method
from multigraft.methods.text_model import TextModel
from multigraft.reports.task_map import MOST, picture
from multigraft.serving.engine import Engine, Entry, Writer

INPUT, OUTPUT = 512, 64  # tokens that an expert of a library reads and writes at most: its card does not say
WIDE, NARROW = 900, 343  # pixels of a map
_KEYS, _PROMPTS = "Cosine of average training texts", "Cosine of average tokens of prompts"


def load_engine(folder: Path, only: Sequence[str] | None = None) -> Engine:
    """What `folder` holds; with `only`, these tasks or experts. Raises UserError when it holds nothing to serve."""
    if (folder / CATALOGUE).is_file():
        return _library(Library(folder), only)
    text = trained_folder(str(folder))
    return _text_model(folder, text, only) if text is not None else _model(folder, only)


def _model(folder: Path, only: Sequence[str] | None) -> Engine:
    answerer = Answerer.load(folder, only)
    entries = [_entry(name, answerer.questions[name]) for name in answerer.names]
    return Engine(folder.resolve().name, "model", entries, answerer=answerer)


def _text_model(folder: Path, place: Path, only: Sequence[str] | None) -> Engine:
    model, file = load_text_model(place)
    names = _chosen(model.names, only)
    writer = Writer(model.to(_device()), file.max_input, file.max_target, file.precision)
    entries = [Entry(name=name, kind="text") for name in names]
    return Engine(folder.resolve().name, "text model", entries, writers=dict.fromkeys(names, writer))


def _library(library: Library, only: Sequence[str] | None) -> Engine:
    experts = {expert.name: expert for expert in library.list()}
    if not experts:
        raise UserError("the library is empty", where=library.folder, fix="add experts: multigraft library add")
    experts = {name: experts[name] for name in _chosen(list(experts), only)}
    backbones: dict[str, Backbone] = {}
    models: list[Asked] = []
    writers: dict[str, Writer] = {}
    for group in _groups(list(experts.values())):
        first, names = group[0].card, [expert.name for expert in group]
        if first.backbone_fingerprint not in backbones:
            backbones[first.backbone_fingerprint] = load_backbone(first.backbone)
        backbone = backbones[first.backbone_fingerprint]
        if first.head is None:
            model = TextModel(backbone, load_experts(library, names, backbone), tuned=False).eval()
            writers |= dict.fromkeys(names, Writer(model.to(_device()), INPUT, OUTPUT, "auto"))
        else:
            joint = load_joint(library, names, backbone).to(_device())
            models.append(Asked(joint, _questions(group), min(INPUT, backbone.max_length), "auto"))
    index = _index(library, experts)
    answerer = Answerer(models) if models else None
    entries = [_expert_entry(expert, index) for expert in experts.values()]
    return Engine(library.folder.resolve().name, "library", entries, answerer=answerer, writers=writers, index=index,
                  maps=_maps(experts))  # fmt: skip


def _groups(experts: Sequence[Expert]) -> list[list[Expert]]:
    """Experts that fit into one bank: one backbone, one method with its settings, heads that read alike."""
    found: dict[object, list[Expert]] = {}
    for expert in experts:
        card, method = expert.card, parse_method(expert.card.method, f"expert {expert.name}: method")
        settings = tuple(sorted((k, repr(v)) for k, v in method_record(method).items() if k not in method.free))
        pooler = card.head is not None and "pooler.weight" in split_head(expert.tensors())[1]
        pooling = None if card.head is None else card.head.pooling
        found.setdefault((card.backbone_fingerprint, settings, pooling, pooler), []).append(expert)
    return list(found.values())


def _index(library: Library, experts: Mapping[str, Expert]) -> Index | None:
    """The index of the experts that are served; None when none of them has key vectors."""
    if all(expert.keys is None for expert in experts.values()):
        return None
    index = Index.of(library)
    for name in set(index.names) - experts.keys():
        index.remove(name)
    return index


def _maps(experts: Mapping[str, Expert]) -> tuple[str, str] | None:
    """How alike experts are, by their key vectors or else by their prompts; None where not all of them have either."""
    if not 2 <= len(experts) <= MOST:
        return None
    keys = [keys for expert in experts.values() if (keys := expert.key_vectors()) is not None]
    title = _KEYS
    if len(keys) < len(experts):
        title, keys = _PROMPTS, []
        for expert in experts.values():
            module = split_head(expert.tensors())[0]
            keys += [module[TENSOR].float().numpy()] if TENSOR in module else []
    if len(keys) < len(experts) or len({array.shape[1] for array in keys}) > 1:
        return None
    alike = similarities(embeddings((np.asarray(array, np.float32) for array in keys), "average_tokens"))
    wide, narrow = (str(picture(list(experts), alike, title, width)) for width in (WIDE, NARROW))
    return wide, narrow


def _questions(group: Sequence[Expert]) -> dict[str, Question]:
    """What experts ask; the names of their tasks' fields are not known to a library."""
    return {expert.name: Question(None, expert.card.head.output) for expert in group if expert.card.head is not None}


def _expert_entry(expert: Expert, index: Index | None) -> Entry:
    card = expert.card
    question = Question(None, card.head.output) if card.head is not None else None
    entry = _entry(expert.name, question)
    return entry.model_copy(update={"task": card.task, "method": str(card.method["name"]), "scores": card.scores,
                                    "routed": index is not None and expert.name in index.names})  # fmt: skip


def _entry(name: str, question: Question | None) -> Entry:
    if question is None or question.output.kind == "text":
        return Entry(name=name, kind="text")
    output, inputs = question.output, question.inputs
    if output.kind == "number":
        return Entry(name=name, kind="number", inputs=inputs, range=output.range)
    return Entry(name=name, kind="choice", inputs=inputs, choices=output.choices, choices_field=output.choices_field)


def _chosen(names: Sequence[str], only: Sequence[str] | None) -> list[str]:
    for name in only or ():
        if name not in names:
            raise unknown("expert", name, names)
    return [name for name in names if only is None or name in only]


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
