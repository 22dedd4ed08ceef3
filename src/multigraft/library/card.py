"""The card of an expert: what it is, what it was made from, and how well it does."""

from __future__ import annotations

import hashlib
from typing import Any

from multigraft.batching.encode import Encoded
from multigraft.batching.text import TextEncoded
from multigraft.library.retrieval.text_formats import KeyText
from multigraft.methods.heads import Pooling
from multigraft.settings import Record
from multigraft.tasks.outputs import Output


class HeadCard(Record):
    """What an encoder's head reads, and what it answers."""

    pooling: Pooling
    output: Output  # of the task


class KeysCard(Record):
    """How an expert's key vectors were made: only those that were made alike can be compared."""

    encoder: str
    encoder_fingerprint: str  # SHA-256 of its weights and tokenizer
    text: KeyText
    tokens: int  # where texts were cut


class Card(Record):
    """`card.json` beside an expert's `weights.safetensors`."""

    task: str
    method: dict[str, Any]  # name and settings
    backbone: str
    backbone_fingerprint: str  # SHA-256 of the weights that the expert was trained on
    tokenizer_fingerprint: str
    data_fingerprint: str  # SHA-256 of the encoded training rows
    template: str | None  # wording of the task; None for an encoder with heads
    seed: int
    steps: int
    scores: dict[str, float]  # metric: per cent on the dev split
    licence: str  # of the task's data
    parents: tuple[str, ...]  # experts it was started or merged from
    versions: dict[str, str]
    head: HeadCard | None = None  # where the expert is kept without its model
    embedding_step: int | None = None  # when the module was taken that tasks are compared by
    retrieval: KeysCard | None = None  # of its key vectors, if it has any


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """SHA-256 of everything that a fast tokenizer does to a text."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def data_fingerprint(data: Encoded | TextEncoded) -> str:
    """SHA-256 of encoded rows and their targets."""
    if isinstance(data, TextEncoded):
        arrays = [data.inputs, data.input_starts, data.targets, data.target_starts]
    else:
        arrays = [data.ids, data.starts, data.first, data.target_class, data.target_number]
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()
