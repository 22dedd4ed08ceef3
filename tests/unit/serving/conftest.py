"""Tiny things to serve: a model with heads, a text model, and a library with key vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

from multigraft.backbones.load import load_backbone
from multigraft.library.card import Card, tokenizer_fingerprint
from multigraft.library.model_folder import ModelFile, build_model, save_model
from multigraft.library.parcel import add_all, read_experts
from multigraft.library.retrieval.embedder import Embedder
from multigraft.library.retrieval.keys import add_keys
from multigraft.library.retrieval.text_formats import key_text
from multigraft.library.store import Library
from multigraft.library.text_folder import TextModelFile, build_text_model, save_text_model
from multigraft.methods.base import method_record, parse_method
from multigraft.serving.batching import Limits
from multigraft.serving.http import create_app
from multigraft.serving.loading import load_engine
from multigraft.tasks.suite import load_suite

TASKS = ("feeling", "amount", "pick", "animal")  # of the tiny suite: those that an encoder can answer
QUICK = Limits(wait=0.0)
MakeClient = Callable[..., TestClient]


def card_of(backbone: Any, method: dict[str, Any], task: str) -> Card:
    return Card(
        task=task, method=method, backbone=backbone.name, backbone_fingerprint=backbone.fingerprint,
        tokenizer_fingerprint=tokenizer_fingerprint(backbone.tokenizer), data_fingerprint="d", template=None, seed=0,
        steps=1, scores={"accuracy": 50.0}, licence="CC0", parents=(), versions={},
    )  # fmt: skip


def heads_folder(place: Path, name: str, suite: str, method: dict[str, Any], names: tuple[str, ...]) -> Path:
    """A model with random experts and heads on a frozen backbone."""
    backbone, tasks = load_backbone(name), [load_suite(suite).tasks[task] for task in names]
    record = method_record(parse_method(method))
    file = ModelFile(
        suite=suite, backbone=name, backbone_fingerprint=backbone.fingerprint, pretrained=True, seed=0, tuned=False,
        pooling="first", pooler="per_task", method=record, max_length=24, precision="fp32",
        tasks=tuple(task.model_dump(mode="json") for task in tasks),
    )  # fmt: skip
    model = build_model(backbone, tasks, record, pooling="first", pooler="per_task", tuned=False, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for stack in model.stacks.values():
            stack.values.copy_(torch.randn(stack.values.shape, generator=generator) * 0.5)
    save_model(place, model, file, {task.name: card_of(backbone, record, task.name) for task in tasks})
    return place


def text_folder(place: Path, name: str, experts: tuple[str, ...]) -> Path:
    """A text model with random experts on a frozen backbone."""
    backbone, record = load_backbone(name), method_record(parse_method("lora"))
    file = TextModelFile(
        backbone=name, backbone_fingerprint=backbone.fingerprint, pretrained=True, seed=0, tuned=False, method=record,
        max_input=20, max_target=8, precision="fp32", experts=experts,
    )  # fmt: skip
    model = build_text_model(backbone, experts, record, tuned=False, seed=0)
    with torch.no_grad():
        model.bank.stack.values.copy_(torch.randn(model.bank.stack.values.shape, generator=torch.Generator()))
    save_text_model(place, model, file, {expert: card_of(backbone, record, expert) for expert in experts})
    return place


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_suite: str, backbone_folder: Callable[..., str]) -> Path:
    place = tmp_path_factory.mktemp("model") / "model"
    return heads_folder(place, backbone_folder("bert"), tiny_suite, {"name": "low_rank", "width": 4}, TASKS)


@pytest.fixture(scope="session", params=["t5", "llama"])
def text_model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, backbone_folder: Callable[..., str]
) -> Path:
    return text_folder(tmp_path_factory.mktemp("text") / "model", backbone_folder(request.param), ("a", "b"))


@pytest.fixture(scope="session")
def library(
    model: Path, tmp_path_factory: pytest.TempPathFactory, tiny_suite: str, backbone_folder: Callable[..., str]
) -> Path:
    """Experts of three methods with heads and keys, and one without keys that writes."""
    folder = tmp_path_factory.mktemp("library")
    store = Library.create(folder / "lib")
    add_all(store, read_experts(model))
    for method, task in (({"name": "lora"}, "feeling"), ({"name": "soft_prompt", "length": 3}, "amount")):
        other = heads_folder(folder / task, backbone_folder("bert"), tiny_suite, method, (task,))
        (again,) = read_experts(other)
        add_all(store, [again._replace(name=f"{task} again")])
    add_keys(store, load_suite(tiny_suite), Embedder(backbone_folder("bert"), 16), key_text("instance"), 40)
    (writer,) = read_experts(text_folder(folder / "text", backbone_folder("t5"), ("reply",)))
    add_all(store, [writer])
    return store.folder


@pytest.fixture
def client() -> Iterator[MakeClient]:
    """A maker of clients of servers that run until the test ends."""
    opened: list[TestClient] = []

    def make(folder: Path, limits: Limits = QUICK, **settings: Any) -> TestClient:
        made = TestClient(create_app(load_engine(folder), limits, **settings), raise_server_exceptions=False)
        opened.append(made.__enter__())
        return made

    yield make
    for one in opened:
        one.__exit__(None, None, None)
