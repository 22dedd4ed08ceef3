"""The sentence encoder of retrieval: texts to vectors of length 1."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from multigraft.backbones.load import EMBEDDED, embedded_folder, weights_fingerprint
from multigraft.errors import UserError
from multigraft.library.card import tokenizer_fingerprint

ENCODER, TOKENS = "minilm", 256  # the published encoder, and where it was cut in its training
_ROWS = 32  # texts in a batch


class Embedder:
    """A sentence encoder that cuts every text, key or query, at the same number of tokens.

    Attributes: `encoder` (its name), `fingerprint` (SHA-256 of its weights and tokenizer), `tokens` (where texts are
    cut, marks such as [CLS] included), `width` (D).
    """

    def __init__(self, encoder: str = ENCODER, tokens: int = TOKENS) -> None:
        """encoder: `minilm`, which is embedded, or the hub id or folder of a model of sentence-transformers.

        Raises UserError when it cannot be loaded, or does not read so many tokens.
        """
        self.encoder, self.tokens = encoder, tokens
        self._model = _load(encoder)
        tokenizer = self._model.tokenizer
        least, most = tokenizer.num_special_tokens_to_add() + 1, tokenizer.model_max_length
        if not least <= tokens <= most:
            raise UserError(f"cannot cut texts at {tokens} tokens", where=encoder, fix=f"choose from {least} to {most}")
        parts = weights_fingerprint(self._model) + tokenizer_fingerprint(tokenizer)
        self.fingerprint = hashlib.sha256(parts.encode()).hexdigest()
        self._model.max_seq_length = tokens
        self.width = self.encode(["a text"]).shape[1]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors of n texts, n x D, float32, each of length 1; texts of like length share a batch."""
        if not texts:
            return np.zeros((0, self.width), np.float32)
        found = self._model.encode(
            list(texts), batch_size=_ROWS, show_progress_bar=False, convert_to_numpy=True, normalize_embeddings=True
        )
        return np.asarray(found, np.float32)


def _load(encoder: str) -> Any:
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    if encoder in EMBEDDED and encoder != ENCODER:
        raise UserError("not a sentence encoder", where=encoder, fix=f"take {ENCODER}, or a hub id")
    source = str(embedded_folder(ENCODER)) if encoder == ENCODER else encoder
    try:
        return SentenceTransformer(source)
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        fix = f"give a hub id or folder of sentence-transformers, or {ENCODER}, which is embedded"
        raise UserError(f"cannot load the sentence encoder: {reason}", where=encoder, fix=fix) from None
