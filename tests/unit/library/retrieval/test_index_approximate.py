"""Beyond the size of exact search: the index holds the same, finds nearly the same, and does nothing anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.library.card import Card, KeysCard
from multigraft.library.retrieval import approximate
from multigraft.library.retrieval.index import EQUAL, Index
from multigraft.library.store import Library

MakeMade = Callable[..., KeysCard]
EXACT, WIDTH, KEYS = 300, 18, 20  # numbers that cannot be coded four by four


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """The sizes of a library that is large, made small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(approximate, "EXACT", EXACT)
        patch.setattr(approximate, "_CANDIDATES", 4)
        yield


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(experts: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Keys around a centre for each expert."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.standard_normal((experts, WIDTH)))
    return {f"e{i:04}": unit(c + 0.2 * rng.standard_normal((KEYS, WIDTH))) for i, c in enumerate(centres)}


def built(keys: dict[str, np.ndarray], made: KeysCard) -> Index:
    index = Index()
    for name, own in keys.items():
        index.add(name, own, made)
    return index


def held(index: Index) -> dict[str, list[list[float]]]:
    """The keys of each expert, sorted."""
    keys: dict[str, list[list[float]]] = {name: [] for name in index.names}
    assert index._keys is not None
    for key, owner in zip(*(own.tolist() for own in index._keys.held())):
        keys[index._names[owner]].append(key)
    return {name: sorted(own) for name, own in keys.items()}


def codes(index: Index) -> Any:
    """FAISS's index of codes, or None."""
    return index._keys._codes if index._keys is not None else None


def test_the_nearest_key_is_found_almost_always(make_made: MakeMade) -> None:
    keys = clustered(500)
    index = built(keys, make_made())
    assert codes(index).ntotal == len(index) == 500 * KEYS
    rng = np.random.default_rng(1)
    everything = np.concatenate(list(keys.values()))
    queries = unit(everything[::17] + 0.1 * rng.standard_normal((len(everything[::17]), WIDTH)))
    best = (queries @ everything.T).max(axis=1)
    found = index.search(queries)
    assert np.mean([near[0].score >= score - EQUAL for near, score in zip(found, best)]) >= 0.95
    for near, query in zip(found, queries):  # what is found has its exact score
        assert np.abs(keys[near[0].expert] @ query - near[0].score).min() < EQUAL
    assert built(keys, make_made()).search(queries) == found
    assert [index.search(queries[[row]])[0][0].expert for row in range(30)] == [n[0].expert for n in found[:30]]


CHANGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40)), max_size=12)


@given(st.integers(1, 40), CHANGES, st.integers(1, 9))
def test_coming_and_going_keeps_every_key(
    make_made: MakeMade, experts: int, changes: list[tuple[int, int]], k: int
) -> None:
    pool = clustered(31, seed=2)
    left = dict(clustered(experts))
    index = built(left, make_made())
    for number, count in changes:
        name, own = f"e{number:04}", np.tile(pool[f"e{number:04}"], (2, 1))[:count]
        if count:
            index.add(name, own, make_made())
            left[name] = own
        elif name in left:
            index.remove(name)
            del left[name]
    assert (index.names, len(index)) == (tuple(sorted(left)), sum(map(len, left.values())))
    if not left:
        return
    assert held(index) == {name: sorted(own.tolist()) for name, own in left.items()}
    queries = pool["e0003"]
    found = index.search(queries, k)
    assert all(len(near) >= min(k, len(index)) for near in found)
    assert all(near == sorted(near, key=lambda n: (-n.score, n.expert)) for near in found)
    if len(index) <= EXACT:  # exact again, whatever it was before
        exact = built(left, make_made()).search(queries, k)
        assert [[n.expert for n in near] for near in found] == [[n.expert for n in near] for near in exact]


def test_an_expert_that_is_added_leaves_the_others_as_they_are(make_made: MakeMade) -> None:
    index = built(clustered(100), make_made())
    before, inside = held(index), codes(index)
    coded = [faiss.vector_to_array(inside.pq.centroids), inside.reconstruct_n(0, len(index))]
    new = clustered(1, seed=3)["e0000"]
    index.add("new", new, make_made())
    assert codes(index) is inside
    assert np.array_equal(faiss.vector_to_array(inside.pq.centroids), coded[0])
    assert np.array_equal(inside.reconstruct_n(0, len(index) - KEYS), coded[1])
    assert held(index) == {**before, "new": sorted(new.tolist())}
    assert {near[0].expert for near in index.search(new)} == {"new"}
    index.remove("new")
    assert np.array_equal(inside.reconstruct_n(0, len(index)), coded[1])
    index.remove("e0050")
    kept = np.delete(coded[1], slice(50 * KEYS, 51 * KEYS), axis=0)
    assert np.array_equal(inside.reconstruct_n(0, len(index)), kept)
    assert (codes(index), held(index)) == (inside, {name: own for name, own in before.items() if name != "e0050"})


def test_codes_are_learnt_again_when_there_are_four_times_the_keys(make_made: MakeMade) -> None:
    index, kinds = Index(), []
    for name, own in clustered(70).items():
        index.add(name, own, make_made())
        kinds.append(codes(index))
    assert [kinds.count(kind) for kind in dict.fromkeys(kinds)] == [15, 49, 6]  # from 16 experts on, and from 65 on
    assert codes(index).ntotal == len(index) == 70 * KEYS
    for name in index.names[15:]:
        index.remove(name)
    assert codes(index) is None
    index.add("e0016", clustered(17)["e0016"], make_made())
    assert codes(index).ntotal == 16 * KEYS


def test_equal_keys_are_found_and_stand_by_name(make_made: MakeMade) -> None:
    keys = clustered(60)
    same = unit(np.ones((1, WIDTH)))
    copies = {f"{letter}{i:03}": same for i in range(40) for letter in "za"}
    index = built({**keys, **copies}, make_made())
    for of in (same, np.tile(same, (30, 1))):
        (found, *_) = index.search(of)
        assert [near.expert for near in found] == sorted(copies)
        assert len({near.score for near in found}) == 1


def test_so_many_neighbours_that_all_keys_are_compared(make_made: MakeMade) -> None:
    keys = clustered(60)
    found = built(keys, make_made()).search(keys["e0000"], 1000)
    everything = np.concatenate(list(keys.values()))
    for near, query in zip(found, keys["e0000"]):
        assert len(near) >= 1000
        assert [n.score for n in near[:1000]] == pytest.approx(np.sort(everything @ query)[::-1][:1000], abs=2e-5)


def test_it_follows_a_large_library(memory_folder: Path, make_card: Callable[..., Card], make_made: MakeMade) -> None:
    import torch

    library = Library.create(memory_folder)
    card = make_card(retrieval=make_made())
    keys = {name: np.tile(own, (10, 1)) for name, own in clustered(8).items()}
    for name, own in keys.items():
        library.add(name, {"w": torch.zeros(1)}, card, own)
    index = Index.of(library)
    inside = codes(index)
    assert inside.ntotal == len(index) == 8 * 10 * KEYS
    for name in ("e0003", "e0005"):
        library.remove(name)
    library.add("e0006", {"w": torch.zeros(1)}, card, keys["e0005"], replace=True)
    index.follow(library)
    assert codes(index) is inside
    assert held(index) == {
        name: sorted(keys["e0005" if name == "e0006" else name].tolist())
        for name in ("e0000", "e0001", "e0002", "e0004", "e0006", "e0007")
    }
