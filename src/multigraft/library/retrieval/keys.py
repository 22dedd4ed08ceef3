"""Keys and queries, made alike: key vectors for the experts of a library, and the votes of queries for experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from multigraft.errors import UserError
from multigraft.library.card import KeysCard
from multigraft.library.retrieval.embedder import Embedder
from multigraft.library.retrieval.index import Index, Neighbour
from multigraft.library.retrieval.instances import Instances, of_task
from multigraft.library.retrieval.text_formats import KeyText
from multigraft.library.retrieval.votes import Votes
from multigraft.library.store import Library
from multigraft.tasks.suite import Suite

KEYS, QUERIES = 100, 32  # S and Q of arXiv 2302.03202
_TRAIN = "train"


class Indexed(NamedTuple):
    """Experts that got keys, and those that did not: the suite has no training rows of their task."""

    experts: tuple[str, ...]
    left_out: tuple[str, ...]


def keys_card(embedder: Embedder, text: KeyText) -> KeysCard:
    """How vectors of this encoder and text format are made."""
    return KeysCard(
        encoder=embedder.encoder, encoder_fingerprint=embedder.fingerprint, text=text, tokens=embedder.tokens
    )


def add_keys(library: Library, suite: Suite, embedder: Embedder, text: KeyText, count: int = KEYS) -> Indexed:
    """Give each expert of a task of the suite `count` keys from the training rows of its task, or all if fewer.

    Keys that it had are replaced; its weights stay as they are. Raises UserError for a bad row, when the suite has
    training rows of no expert's task, and for an expert left out whose keys were made in another way.
    """
    made = keys_card(embedder, text)
    experts = library.list()
    trained = {task.name for task in suite.tasks.values() if _TRAIN in task.split_names()}
    chosen = [expert for expert in experts if expert.card.task in trained]
    others = [expert for expert in experts if expert.card.task not in trained]
    if not chosen:
        fix = "give the suite that the experts were trained on"
        raise UserError(f"suite {suite.name!r} has training rows of no expert's task", where=library.folder, fix=fix)
    for expert in others:
        if expert.keys is not None and expert.card.retrieval != made:
            what = f"has keys that were made in another way, and the suite has no training rows of {expert.card.task!r}"
            raise UserError(what, where=f"expert {expert.name}", fix="give a suite with all tasks of the library")
    vectors: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(expert.card.task for expert in chosen):
        vectors[name] = embedder.encode(of_task(suite.tasks[name], _TRAIN, count).texts(text))
    for expert in chosen:
        card = expert.card.model_copy(update={"retrieval": made})
        library.add(expert.name, expert.tensors(), card, vectors[card.task], replace=True)
    return Indexed(tuple(expert.name for expert in chosen), tuple(expert.name for expert in others))


class Router:
    """An index with the encoder that its keys were made by, which embeds queries as it did them."""

    def __init__(self, index: Index) -> None:
        """Raises UserError when the index is empty, and when its encoder is not to be had or is another one by now."""
        if index.made is None:
            raise UserError("the index is empty", fix="add experts with key vectors")
        self._index, self._text = index, index.made.text
        self._embedder = Embedder(index.made.encoder, index.made.tokens)
        index.check(keys_card(self._embedder, self._text), f"encoder {index.made.encoder}")

    def vote(self, instances: Instances, votes: Votes, neighbours: int = 1) -> None:
        """Add the votes of instances, each decided by its `neighbours` nearest keys. Raises UserError as `texts`."""
        votes.add(self.search(self.embed(self.texts(instances)), neighbours))

    def texts(self, instances: Instances) -> list[str]:
        """What is embedded of instances. Raises UserError when the text format needs more than is known of them."""
        return instances.texts(self._text)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Queries Q x D."""
        return self._embedder.encode(texts)

    def search(self, queries: np.ndarray, k: int) -> list[list[Neighbour]]:
        """The k nearest keys of each query, as `Index.search`."""
        return self._index.search(queries, k)
