"""Batches of inputs and targets, padded or packed: masks, positions, and where targets are predicted from."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from multigraft.backbones.tiny import tiny_text_backbone
from multigraft.batching.pack import pack
from multigraft.batching.text import encode_text
from multigraft.batching.text_collate import collate_text, isolation, positions

T5, LLAMA = tiny_text_backbone("t5"), tiny_text_backbone("llama")
PAIRS = [("a cat is big", "good"), ("the dog", "bad one"), ("red blue 1 2 3", "no")]
LENGTHS = st.lists(st.integers(1, 90), max_size=40)


def test_a_place_predicts_the_token_behind_it() -> None:
    for backbone in (T5, LLAMA):
        form = backbone.text_format(20, 8)
        data = encode_text(PAIRS, backbone.tokenizer, form)
        for packs in (None, [[2, 0], [1]]):
            batch = collate_text([data], [0, 0, 0], [0, 1, 2], form, [4, 4, 4], packs)
            flat = batch.ids.flatten()
            for example in range(3):
                mine = batch.owner == example
                assert batch.target[mine].tolist() == data.target(example).tolist()
                # Behind each place but the last stands the token that was predicted there.
                assert flat[batch.place[mine][:-1] + 1].tolist() == data.target(example)[:-1].tolist()
                first = flat[batch.place[mine][0]]
                assert int(first) == (form.start_id if form.kind == "encoder_decoder" else data.input(example)[-1])
            assert batch.experts == (4,)
            assert batch.local is None
            assert batch.packed == (packs is not None)


def test_rows_name_their_experts() -> None:
    form = T5.text_format(20, 8)
    data = encode_text(PAIRS, T5.tokenizer, form)
    batch = collate_text([data] * 6, [5, 1, 5], [0, 1, 2], form)
    assert batch.experts == (1, 5)
    assert batch.local is not None
    assert batch.local.tolist() == [1, 0, 1]


def test_positions_begin_anew_in_each_block() -> None:
    block = torch.tensor([[1, 1, 1, 2, 2, 0], [1, 2, 2, 2, 3, 3]])
    assert positions(block).tolist() == [[0, 1, 2, 0, 1, 0], [0, 0, 1, 2, 0, 1]]


def test_who_sees_whom() -> None:
    block = torch.tensor([[1, 1, 2, 0]])
    assert isolation(block, block, causal=False)[0, 0].int().tolist() == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 0],
        [1, 0, 0, 0],  # padding sees something, so that no softmax is empty
    ]
    assert isolation(block, block, causal=True)[0, 0].int().tolist()[:3] == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]]


@given(LENGTHS, st.integers(1, 200))
def test_every_example_is_packed_once(lengths: list[int], capacity: int) -> None:
    rows = pack(np.array(lengths, dtype=np.int64).reshape(-1, 1), capacity)
    assert sorted(example for row in rows for example in row) == list(range(len(lengths)))
    # No row is longer than what there is room for by the longest example, the bound of the method.
    assert all(sum(lengths[e] for e in row) <= capacity + max(lengths) for row in rows)


def test_rows_are_about_equally_long() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 120, (64, 1))
    both = np.concatenate([lengths, rng.geometric(0.1, (64, 1))], axis=1)
    for parts in (lengths, both):
        rows = [parts[row].sum(axis=0) for row in pack(parts, 512)]
        assert parts.sum() / (len(rows) * np.max(rows, axis=0).sum()) > 0.97
