"""Votes: any number of queries, at once or in a stream; ties; abstention."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.library.retrieval.index import Neighbour
from multigraft.library.retrieval.votes import Votes

Near = list[Neighbour]


def near(*pairs: tuple[str, float]) -> Near:
    return [Neighbour(*pair) for pair in pairs]


def votes(*queries: Near) -> Votes:
    found = Votes()
    found.add(queries)
    return found


NEAR = st.lists(st.builds(Neighbour, st.sampled_from("abcd"), st.floats(-1, 1, width=32)), min_size=1, max_size=5).map(
    lambda found: sorted(found, key=lambda one: (-one.score, one.expert))
)


@given(st.lists(NEAR, min_size=1, max_size=40))
def test_a_stream_ends_where_a_batch_does(queries: list[Near]) -> None:
    stream = Votes()
    for query in queries:
        stream.add([query])
    assert stream.ranking() == votes(*queries).ranking() == votes(*queries[::-1]).ranking()
    assert stream.queries == len(queries)
    ranking = stream.ranking()
    assert sum(place.votes for place in ranking) >= len(queries)
    order = [(-place.votes, -place.score, place.expert) for place in ranking]
    assert order == sorted(order)
    for place in ranking:
        low, high = place.interval
        assert 0 <= low <= place.confidence <= high <= 1
        assert place.confidence == place.votes / len(queries)
        assert set(place.tied) == {one.expert for one in ranking if one.votes == place.votes} - {place.expert}


def test_ties_are_broken_by_score_and_then_by_name() -> None:
    found = votes(
        near(("c", 0.5)), near(("c", 0.5)), near(("b", 0.9)), near(("b", 0.25)), near(("a", 0.75)), near(("a", 0.25)),
        near(("z", 0.0)),
    ).ranking()  # fmt: skip
    assert [place.expert for place in found] == ["b", "a", "c", "z"]
    assert [place.decided_by for place in found] == ["score", "name", "name", "votes"]
    assert found[1].tied == ("b", "c")
    assert found[0].score == pytest.approx(1.15)
    assert found[0].similarity == pytest.approx(0.575)


def test_experts_that_are_even_all_get_the_vote() -> None:
    found = votes(near(("b", 0.5), ("a", 0.5)), near(("c", 0.4))).ranking()
    assert [(place.expert, place.votes) for place in found] == [("a", 1), ("b", 1), ("c", 1)]
    assert found[0].tied == ("b", "c")


def test_of_several_neighbours_most_decide_and_then_the_nearest() -> None:
    assert votes(near(("a", 0.9), ("b", 0.8), ("b", 0.7))).ranking()[0].expert == "b"
    (first,) = votes(near(("a", 0.9), ("b", 0.8))).ranking()
    assert (first.expert, first.score) == ("a", pytest.approx(0.9))


def test_sums_do_not_depend_on_the_order() -> None:
    scores = [7919 * n % 1009 / 1009 for n in range(60)]
    assert sum(scores) != sum(scores[::-1])
    found = votes(*(near(("b", s)) for s in scores), *(near(("a", s)) for s in scores[::-1])).ranking()
    assert [(place.expert, place.decided_by) for place in found] == [("a", "name"), ("b", "name")]


def test_copies_of_a_key_count_once() -> None:
    found = votes(near(("a", 0.5), ("b", 0.5), ("b", 0.5)), near(("b", 0.9), ("b", 0.9), ("a", 0.8), ("a", 0.7)))
    assert {place.expert: place.votes for place in found.ranking()} == {"a": 2, "b": 1}


def test_wilson_interval_by_hand() -> None:
    (place,) = votes(*[near(("a", 1.0))] * 4).ranking()
    z = 1.959964
    assert place.interval == pytest.approx((4 / (4 + z * z), 1.0), abs=1e-6)


def test_it_abstains_and_says_why() -> None:
    assert Votes().decide().expert is None
    found = votes(near(("a", 0.75)), near(("a", 0.25)), near(("b", 0.5)))
    assert found.decide(0.6, 0.5).expert == "a"
    assert found.decide().reason == "a has 2 of 3 votes, at a mean similarity of 0.50"
    unsure, far = found.decide(0.7), found.decide(least_similarity=0.6)
    assert (unsure.expert, far.expert) == (None, None)
    assert unsure.reason.endswith("; its confidence is below 0.7")
    assert far.reason.endswith("; its similarity is below 0.6")
    tied = votes(near(("b", 0.75)), near(("a", 0.5)))
    assert tied.decide().reason.endswith("and as many as a: decided by score")


def test_scores_of_arrays_are_counted_as_well() -> None:
    assert votes([Neighbour("a", np.float32(0.5))]).ranking()[0].score == pytest.approx(0.5)
