"""The sentence encoder: as its parts compute it, cut where it says, the same alone and in a batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from multigraft.backbones.load import load_backbone
from multigraft.errors import UserError
from multigraft.library.retrieval.embedder import Embedder

TEXTS = ["the cat is good", "a dog", "no red blue yes no who why where one two more the a not"]


@pytest.fixture(scope="module")
def tiny(backbone_folder: Callable[..., str]) -> str:
    return backbone_folder("bert")


def mean_pooled(name: str, texts: list[str], tokens: int) -> np.ndarray:
    """The definition: mean of the last hidden states, at length 1."""
    backbone = load_backbone(name)
    rows = []
    for text in texts:
        coded = backbone.tokenizer(text, truncation=True, max_length=tokens, return_tensors="pt")
        with torch.no_grad():
            states = backbone.model(coded["input_ids"], attention_mask=coded["attention_mask"]).last_hidden_state
        rows.append(torch.nn.functional.normalize(states[0].mean(0), dim=0).numpy())
    return np.stack(rows)


@pytest.mark.parametrize("tokens", [6, 30])
def test_as_its_parts_compute_it(tiny: str, tokens: int) -> None:
    embedder = Embedder(tiny, tokens)
    found = embedder.encode(TEXTS)
    assert found == pytest.approx(mean_pooled(tiny, TEXTS, tokens), abs=1e-5)
    assert (found.dtype, embedder.width) == (np.float32, 24)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(3), abs=1e-6)
    for text, row in zip(TEXTS, found):
        assert embedder.encode([text])[0] == pytest.approx(row, abs=2e-6)
    assert embedder.encode([]).shape == (0, 24)


def test_texts_are_cut_where_it_says(tiny: str) -> None:
    embedder = Embedder(tiny, 6)  # four words between the marks
    cut = "no red blue yes"
    assert embedder.encode([TEXTS[2]]) == pytest.approx(embedder.encode([cut]), abs=2e-6)
    assert Embedder(tiny, 7).encode([TEXTS[2]]) != pytest.approx(embedder.encode([cut]), abs=1e-3)


def test_the_fingerprint_is_that_of_the_weights(tiny: str, backbone_folder: Callable[..., str]) -> None:
    assert Embedder(tiny, 6).fingerprint == Embedder(tiny, 30).fingerprint
    assert Embedder(tiny, 6).fingerprint != Embedder(backbone_folder("roberta"), 6).fingerprint


def test_the_embedded_one() -> None:
    texts = ["A film to see.", "The bank raised its rates."]
    assert Embedder().encode(texts) == pytest.approx(mean_pooled("minilm", texts, 256), abs=1e-5)


def test_what_is_no_encoder_is_one_line(tiny: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot cut texts at 41 tokens; choose from 3 to 40"):
        Embedder(tiny, 41)
    with pytest.raises(UserError, match="pocket: not a sentence encoder; take minilm"):
        Embedder("pocket")
    for name in ("none/such", str(tmp_path)):
        with pytest.raises(UserError, match="cannot load the sentence encoder"):
            Embedder(name)
