"""The index finds what brute force finds, however experts came and went, and refuses keys of another making."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.errors import UserError
from multigraft.library.card import Card, KeysCard
from multigraft.library.retrieval.index import Index
from multigraft.library.retrieval.text_formats import KeyText
from multigraft.library.store import Library

MakeMade = Callable[..., KeysCard]
Found = list[list[tuple[str, float]]]
WIDTH = 3


def brute_force(keys: dict[str, np.ndarray], queries: np.ndarray, k: int) -> Found:
    """The definition: all keys that are at least as near as the k-th."""
    found: Found = []
    for query in queries:
        scores = sorted(((float(key @ query), name) for name, own in keys.items() for key in own), reverse=True)
        least = scores[min(k, len(scores)) - 1][0]
        found.append(sorted(((n, s) for s, n in scores if s >= least), key=lambda pair: (-pair[1], pair[0])))
    return found


def built(keys: dict[str, np.ndarray], made: KeysCard) -> Index:
    index = Index()
    for name, own in keys.items():
        index.add(name, own, made)
    return index


def vectors(most: int) -> st.SearchStrategy[np.ndarray]:
    """Of small whole numbers: products are exact, and ties are frequent."""
    row = st.lists(st.integers(-2, 2), min_size=WIDTH, max_size=WIDTH)
    return st.lists(row, min_size=1, max_size=most).map(lambda rows: np.array(rows, np.float32))


KEYS = st.dictionaries(st.sampled_from("abcdef"), vectors(30), min_size=1)


@given(KEYS, vectors(30), st.integers(1, 9))
def test_it_finds_what_brute_force_finds(
    make_made: MakeMade, keys: dict[str, np.ndarray], queries: np.ndarray, k: int
) -> None:
    index = built(keys, make_made())
    assert len(index) == sum(map(len, keys.values()))
    assert index.search(queries, k) == brute_force(keys, queries, k)


def test_real_vectors_as_in_numpy(make_made: MakeMade) -> None:
    rng = np.random.default_rng(0)
    keys = {f"e{i}": rng.standard_normal((20, 48)).astype(np.float32) for i in range(30)}
    queries = rng.standard_normal((40, 48)).astype(np.float32)
    index = built(keys, make_made())
    for of in (queries, queries[:1]):
        for found, expected in zip(index.search(of, 5), brute_force(keys, of, 5), strict=True):
            assert [near.expert for near in found] == [name for name, _ in expected]
            assert [near.score for near in found] == pytest.approx([score for _, score in expected], abs=1e-4)


@given(KEYS, st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | vectors(4)), max_size=8), vectors(3))
def test_coming_and_going_is_as_built_anew(
    make_made: MakeMade,
    keys: dict[str, np.ndarray],
    changes: list[tuple[str, np.ndarray | None]],
    queries: np.ndarray,
) -> None:
    index, left = built(keys, make_made()), dict(keys)
    for name, own in changes:
        if own is not None:
            index.add(name, own, make_made())
            left[name] = own
        elif name in left:
            index.remove(name)
            del left[name]
    assert index.names == tuple(sorted(left))
    if left:
        assert index.search(queries, 2) == built(left, make_made()).search(queries, 2)
        assert index.search(queries, 2) == built(dict(reversed(left.items())), make_made()).search(queries, 2)
    else:
        assert len(index) == 0
        with pytest.raises(UserError, match="the index is empty"):
            index.search(queries)


def test_equal_keys_are_all_found_even_if_there_are_many(make_made: MakeMade) -> None:
    same = np.ones((1, WIDTH), np.float32)
    index = built({f"e{i:03}": same for i in range(200)}, make_made())
    (found,) = index.search(same)
    assert [near.expert for near in found] == sorted(index.names)


def test_scores_that_differ_by_rounding_are_equal(make_made: MakeMade) -> None:
    one = np.full((1, 1), 0.5, np.float32)
    index = built({"b": one, "a": one + np.float32(1e-6), "c": one - np.float32(1e-3)}, make_made())
    (found,) = index.search(np.ones((1, 1), np.float32))
    assert [near.expert for near in found] == ["a", "b"]
    assert found[0].score == found[1].score


def test_it_follows_a_library(memory_folder: Path, make_card: Callable[..., Card], make_made: MakeMade) -> None:
    import torch

    library = Library.create(memory_folder)
    with pytest.raises(UserError, match="no expert has key vectors; run multigraft library index"):
        Index.of(library)
    card = make_card(retrieval=make_made())
    rows = dict(zip("abc", np.eye(3, dtype=np.float32)[:, None]))
    for name, own in rows.items():
        library.add(name, {"w": torch.zeros(1)}, card, own)
    library.add("bare", {"w": torch.zeros(1)}, make_card())
    index = Index.of(library)
    assert (index.names, index.without) == (("a", "b", "c"), ("bare",))
    library.remove("a")
    library.add("b", {"w": torch.zeros(1)}, card, rows["a"], replace=True)
    library.add("bare", {"w": torch.zeros(1)}, card, rows["b"], replace=True)
    index.follow(library)
    assert (index.names, index.without) == (("b", "bare", "c"), ())
    assert [near[0].expert for near in index.search(np.eye(3, dtype=np.float32))] == ["b", "bare", "c"]
    other = make_card(retrieval=make_made(tokens=9))
    for name in ("b", "bare", "c"):  # all made anew, in another way
        library.add(name, {"w": torch.zeros(1)}, other, np.ones((1, 2), np.float32), replace=True)
    index.follow(library)
    assert index.made == other.retrieval
    assert len(index) == 3
    library.add("odd", {"w": torch.zeros(1)}, make_card(), rows["a"])
    with pytest.raises(UserError, match="expert odd: has key vectors, but its card does not say how they were made"):
        index.follow(library)


def test_keys_of_another_making_are_refused(make_made: MakeMade) -> None:
    index = built({"a": np.ones((2, WIDTH), np.float32), "b": np.ones((2, WIDTH), np.float32)}, make_made())
    for changes, said in (
        ({"encoder": "x", "encoder_fingerprint": "y"}, "made with encoder x, the index with e"),
        ({"encoder_fingerprint": "y"}, "made with fingerprint y, the index with f"),
        ({"text": KeyText(parts="labels")}, "made with text format labels, the index with instance"),
        ({"text": KeyText(field_names=True)}, "made with field names True, the index with False"),
        ({"tokens": 9}, "made with texts cut at 9, the index with 8"),
    ):
        with pytest.raises(UserError, match=f"expert b: has vectors {said}; make them alike"):
            index.add("b", np.zeros((2, WIDTH), np.float32), make_made(**changes))
    for wrong in (np.ones((2, 4)), np.ones(3), np.full((1, WIDTH), np.nan)):
        with pytest.raises(UserError, match="expected finite numbers, any x 3"):
            index.add("b", wrong, make_made())
        with pytest.raises(UserError, match="queries are"):
            index.search(wrong)
    with pytest.raises(UserError, match="expert b: has no keys"):
        index.add("b", np.ones((0, WIDTH)), make_made())
    with pytest.raises(UserError, match="k is 0"):
        index.search(np.ones((1, WIDTH)), 0)
    with pytest.raises(UserError, match="unknown expert 'c'"):
        index.remove("c")
    assert index.search(np.ones((1, WIDTH)))[0][0] == ("a", 3.0)
    assert index.search(np.zeros((0, WIDTH))) == []
