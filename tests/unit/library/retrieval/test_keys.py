"""Keys for the experts of a library, and queries made as these were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from multigraft.errors import UserError
from multigraft.library.card import Card
from multigraft.library.retrieval.embedder import Embedder
from multigraft.library.retrieval.index import Index
from multigraft.library.retrieval.instances import of_task, of_texts
from multigraft.library.retrieval.keys import Router, add_keys
from multigraft.library.retrieval.text_formats import KeyText, key_text
from multigraft.library.retrieval.votes import Votes
from multigraft.library.store import Library
from multigraft.library.verify import verify
from multigraft.tasks.suite import Suite, load_suite

MakeCard = Callable[..., Card]
TEXT = KeyText()


@pytest.fixture(scope="module")
def embedder(backbone_folder: Callable[..., str]) -> Embedder:
    return Embedder(backbone_folder("bert"), 16)


@pytest.fixture(scope="module")
def suite(tiny_suite: str) -> Suite:
    return load_suite(tiny_suite)


@pytest.fixture
def library(memory_folder: Path, make_card: MakeCard) -> Library:
    library = Library.create(memory_folder)
    for i, (name, task) in enumerate({"f": "feeling", "f2": "feeling", "a": "amount", "x": "elsewhere"}.items()):
        library.add(name, {"w": torch.full((2,), float(i))}, make_card(task=task))
    return library


def test_keys_are_training_rows_and_nothing_else_changes(library: Library, suite: Suite, embedder: Embedder) -> None:
    before = {expert.name: expert for expert in library.list()}
    assert add_keys(library, suite, embedder, TEXT, 7) == (("a", "f", "f2"), ("x",))
    for name in ("a", "f"):
        expert, task = library.get(name), suite.tasks[before[name].card.task]
        expected = embedder.encode(of_task(task, "train", 7).texts(TEXT))
        assert np.array_equal(expert.key_vectors(), expected)  # type: ignore[arg-type]
        assert expert.weights == before[name].weights
        assert expert.card.model_copy(update={"retrieval": None}) == before[name].card
    assert library.get("f").keys == library.get("f2").keys
    assert library.get("x") == before["x"]
    assert verify(library) == ()
    assert library.stats().files == 4 + 2
    add_keys(library, suite, embedder, key_text("labels"), 999)
    assert len(library.get("a").key_vectors()) == 80  # type: ignore[arg-type]
    assert library.stats().files == 4 + 2


def test_a_task_finds_its_expert(library: Library, suite: Suite, embedder: Embedder) -> None:
    add_keys(library, suite, embedder, TEXT, 60)
    router = Router(Index.of(library))
    together, stream = Votes(), Votes()
    rows = of_task(suite.tasks["amount"], "test", 10)
    router.vote(rows, together)
    assert together.decide().expert == "a"
    for text in rows.texts(TEXT):
        router.vote(of_texts([text]), stream)
    assert [(p.expert, p.votes) for p in stream.ranking()] == [(p.expert, p.votes) for p in together.ranking()]
    tied = Votes()
    router.vote(of_task(suite.tasks["feeling"], "test", 10), tied, 3)
    first, second = tied.ranking()[:2]
    assert (first.expert, second.expert) == ("f", "f2")
    assert (first.votes, first.decided_by) == (second.votes, "name")


def test_what_cannot_be_compared_is_refused(
    library: Library, suite: Suite, embedder: Embedder, make_card: MakeCard, backbone_folder: Callable[..., str]
) -> None:
    add_keys(library, suite, embedder, TEXT, 3)
    with pytest.raises(UserError, match="suite 'tiny' has training rows of no expert's task"):
        add_keys(library, suite.subset(["pick"]), embedder, TEXT)
    before = library.list()
    with pytest.raises(UserError, match=r"expert a: has keys that were made in another way, .* rows of 'amount'"):
        add_keys(library, suite.subset(["feeling"]), embedder, key_text("labels"))
    assert library.list() == before
    index = Index.of(library)
    card = library.get("a").card
    assert card.retrieval is not None
    other = card.retrieval.model_copy(update={"encoder": backbone_folder("roberta")})
    with pytest.raises(UserError, match=r"has vectors made with fingerprint .*; make them alike"):
        index = Index()
        index.add("a", np.ones((1, 24), np.float32), other)
        Router(index)
    with pytest.raises(UserError, match="the index is empty"):
        Router(Index())
    index = Index()
    index.add("a", np.ones((1, 24)), card.retrieval.model_copy(update={"text": key_text("labels")}))
    with pytest.raises(UserError, match="the text format 'labels' needs the options of a task"):
        Router(index).vote(of_texts(["x"]), Votes())
