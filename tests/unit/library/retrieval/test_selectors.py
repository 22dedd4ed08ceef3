"""Every selector against its definition, what it costs, and what it says when it lacks what it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.errors import UserError
from multigraft.library.card import KeysCard
from multigraft.library.retrieval.index import Index
from multigraft.library.retrieval.selectors import SELECTORS, Candidate, Cost, KnownTask, Target
from multigraft.library.retrieval.selectors.halving import Halving
from multigraft.library.retrieval.selectors.random import Random
from multigraft.library.retrieval.selectors.task_routing import TaskRouting
from multigraft.library.retrieval.selectors.two_stage import TwoStage
from multigraft.library.retrieval.votes import Votes

NAMES = [
    "agreement", "best_on_average", "entropy", "few_shot_loss", "halving", "input_likelihood", "margin", "random",
    "roe", "task_routing", "two_stage", "weights",
]  # fmt: skip
EXPERTS = ("near", "far", "other", "last")
RNG = np.random.default_rng(0)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def known_task(name: str) -> KnownTask:
    return KnownTask(name, unit(RNG.standard_normal((6, 5))), {expert: float(RNG.random()) for expert in EXPERTS})


TARGET = Target(
    "target",
    texts=unit(RNG.standard_normal((7, 5))),
    vector=RNG.standard_normal(9),
    tasks=[known_task(name) for name in ("s", "t", "u", "v")],
    probabilities={expert: RNG.dirichlet(np.ones(3), 8) for expert in EXPERTS},
    likelihoods={expert: -RNG.random(8) for expert in EXPERTS},
    losses={expert: RNG.random(4) for expert in EXPERTS},
)
CANDIDATES = [
    Candidate(name, keys=unit(RNG.standard_normal((3, 5))), vector=RNG.standard_normal(9)) for name in EXPERTS
]


def scores(name: str, target: Target = TARGET, experts: list[Candidate] = CANDIDATES) -> np.ndarray:
    return SELECTORS.get(name)().scores(target, experts)


def test_all_are_found() -> None:
    assert SELECTORS.names() == NAMES
    assert all(selector.paper for selector in SELECTORS.all().values())


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_one_for_each_expert(name: str) -> None:
    found = scores(name)
    assert found.shape == (4,)
    assert np.isfinite(found).all()
    assert len(set(found)) == 4
    assert scores(name, experts=CANDIDATES[::-1]) == pytest.approx(found[::-1], abs=1e-12)
    assert scores(name, experts=[]).shape == (0,)


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        *[(name, Cost(0, 0)) for name in ("random", "best_on_average", "weights")],
        *[(name, Cost(0, 7)) for name in ("roe", "task_routing")],
        *[(name, Cost(4 * 8, 0)) for name in ("entropy", "margin", "agreement", "input_likelihood")],
        ("few_shot_loss", Cost(4 * 4, 0)),
        ("halving", Cost(4 * 4, 0)),
        ("two_stage", Cost(4 * 4, 7)),
    ],
)
def test_costs(name: str, cost: Cost) -> None:
    assert SELECTORS.get(name)().cost(TARGET, CANDIDATES) == cost


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"random"}))
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(UserError, match=r"selector \w+: (target 'bare'|expert 'near') comes without"):
        scores(name, Target("bare"))
    assert scores("random", Target("bare")).shape == (4,)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("roe", {"texts": np.ones((2, 4))}, "keys of expert 'near' has shape 3 x 5, expected any x 4"),
        ("weights", {"vector": np.ones(3)}, "vector of expert 'near' has shape 9, expected 3"),
        ("few_shot_loss", {"losses": {e: np.array([np.nan]) for e in EXPERTS}}, "under 'near' holds NaN"),
        ("entropy", {"probabilities": {e: np.ones((2, 2)) for e in EXPERTS}}, "under 'near' are none"),
        ("margin", {"probabilities": {e: np.full((i + 1, 2), 0.5) for i, e in enumerate(EXPERTS)}}, "expected 1 x 2"),
        ("task_routing", {"tasks": [replace(TARGET.tasks[0], scores={})]}, "'s' comes without scores under 'near'"),
    ],
)
def test_what_does_not_fit_is_named(name: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        scores(name, replace(TARGET, **changes))  # type: ignore[arg-type]


def test_random_is_drawn_by_name_and_seed() -> None:
    drawn = {
        (target, seed): int(Random(seed).scores(Target(target), CANDIDATES).argmax())
        for target in map(str, range(50))
        for seed in range(4)
    }
    counts = np.bincount(list(drawn.values()), minlength=4)
    assert counts.min() > 30  # of 50 each, on average
    assert len({drawn["1", seed] for seed in range(4)} | {drawn["2", seed] for seed in range(4)}) > 1


@given(st.integers(1, 6), st.integers(0, 1000))
def test_roe_is_what_index_and_votes_find(make_made: Callable[..., KeysCard], count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    experts = [Candidate(name, keys=rng.integers(-1, 2, (3, 2)).astype(float)) for name in EXPERTS]
    texts = rng.integers(-1, 2, (count, 2)).astype(float)
    index, votes = Index(), Votes()
    for expert in experts:
        assert expert.keys is not None
        index.add(expert.name, expert.keys, make_made())
    votes.add(index.search(texts))
    found = scores("roe", Target("t", texts=texts), experts)
    order = [EXPERTS[i] for i in np.argsort(-found)]
    ranking = [place.expert for place in votes.ranking()]
    assert order[: len(ranking)] == ranking
    assert sorted(found) == [-3, -2, -1, 0]


def test_roe_ranks_those_without_a_vote_by_nearness() -> None:
    experts = [Candidate(n, keys=np.array([[k, 0.0]])) for n, k in zip("abcd", (0.1, 0.9, -0.5, 0.5))]
    assert scores("roe", Target("t", texts=np.array([[1.0, 0.0]])), experts).tolist() == [-2, 0, -3, -1]


def test_measures_of_answers_by_hand() -> None:
    sure, even, wrong = np.array([[0.9, 0.1]]), np.array([[0.5, 0.5]]), np.array([[0.2, 0.8]])
    target = Target("t", probabilities={"a": sure, "b": even, "c": wrong})
    experts = [Candidate(name) for name in "abc"]
    assert scores("margin", target, experts) == pytest.approx([0.8, 0.0, 0.6])
    by_hand = [0.9 * np.log(0.9) + 0.1 * np.log(0.1), -np.log(2), 0.2 * np.log(0.2) + 0.8 * np.log(0.8)]
    assert scores("entropy", target, experts) == pytest.approx(by_hand)
    a, b, c = (0.5 + 0.26) / 2, (0.5 + 0.5) / 2, (0.26 + 0.5) / 2
    assert scores("agreement", target, experts) == pytest.approx([a, b, c])
    assert scores("agreement", target, experts[:1]) == pytest.approx([0])
    single = Target("t", probabilities={"a": np.ones((2, 1))})
    assert scores("margin", single, experts[:1]) == pytest.approx([1])
    certain = Target("t", probabilities={"a": np.array([[1.0, 0.0]])})
    assert scores("entropy", certain, experts[:1]) == pytest.approx([0])


def test_agreement_finds_the_one_that_is_right_most_often() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(2, size=400)
    answers = {}
    for name, right in zip(EXPERTS, (0.9, 0.75, 0.7, 0.5)):
        said = np.where(rng.random(400) < right, truth, 1 - truth)
        answers[name] = np.eye(2)[said]
    found = scores("agreement", Target("t", probabilities=answers))
    assert found.argmax() == 0
    assert found.argmin() == 3


def test_means_over_examples() -> None:
    assert TARGET.losses["far"].mean() == pytest.approx(-scores("few_shot_loss")[1])
    assert TARGET.likelihoods["other"].mean() == pytest.approx(scores("input_likelihood")[2])
    mean = np.mean([task.scores["last"] for task in TARGET.tasks])
    assert scores("best_on_average")[3] == pytest.approx(mean)
    assert TARGET.vector is not None
    like = replace(CANDIDATES[0], vector=3 * TARGET.vector), replace(CANDIDATES[1], vector=-TARGET.vector)
    assert scores("weights", experts=list(like)) == pytest.approx([1, -1])


def test_task_routing_takes_the_best_expert_of_the_nearest_task() -> None:
    for task in TARGET.tasks:
        target = replace(TARGET, texts=task.texts)
        best = max(task.scores, key=lambda expert: task.scores[expert])
        assert EXPERTS[int(TaskRouting(nearest=1).scores(target, CANDIDATES).argmax())] == best


def test_task_routing_weighs_tasks_whatever_the_unit_of_their_scores() -> None:
    texts = np.array([[1.0, 0.0]])
    near = KnownTask("near", texts, {"a": 1.0, "b": 0.0, "c": 0.5})
    turned = KnownTask("turned", np.array([[0.0, 1.0]]), {"a": 0.0, "b": 100.0, "c": 100.0})
    level = KnownTask("level", np.array([[-1.0, 0.0]]), {"a": 7.0, "b": 7.0, "c": 7.0})
    target = Target("t", texts=texts, tasks=[turned, near, level])
    experts = [Candidate(name) for name in "abc"]
    z = 1 / np.std([1, 0, 0.5]) * np.array([0.5, -0.5, 0.0])
    other = (np.array([0, 100, 100]) - 200 / 3) / np.std([0, 100, 100])
    weight = 1 / (1 + np.exp(-1 / 0.5))
    expected = weight * z + (1 - weight) * other
    assert TaskRouting(2, 0.5).scores(target, experts) == pytest.approx(expected)
    assert not TaskRouting(1).scores(replace(target, tasks=[level]), experts).any()
    for wrong in ((0, 0.1), (1, 0.0)):
        with pytest.raises(UserError, match="give at least 1"):
            TaskRouting(*wrong)


def test_halving_reads_more_of_fewer() -> None:
    experts = [Candidate(name) for name in "abcde"]
    first = {"a": 5.0, "b": 1.0, "c": 2.0, "d": 3.0, "e": 4.0}  # on the first two examples
    later = {"b": 9.0, "c": 1.0, "d": 8.0}  # on the next two
    losses = {name: np.array([loss, loss, *[later.get(name, np.nan)] * 2, *[1.0] * 2]) for name, loss in first.items()}
    losses["d"][4:] = losses["a"][4:] = losses["e"][4:] = 0.0  # too late for them
    target = Target("t", losses={name: np.nan_to_num(one) for name, one in losses.items()})
    selector = Halving(2)
    # b, c and d stay, then c and b by their means of four, and c wins on all six.
    assert selector.scores(target, experts).tolist() == [-4, -1, 0, -2, -3]
    assert selector.cost(target, experts) == Cost(5 * 2 + 3 * 2 + 2 * 2, 0)
    assert Halving(99).scores(target, experts).argmax() == scores("few_shot_loss", target, experts).argmax()
    with pytest.raises(UserError, match="a round of 0"):
        Halving(0)


def test_two_stages() -> None:
    experts = [Candidate(name) for name in "abcd"]
    tasks = [KnownTask("s", scores={"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0})]
    losses = {"a": np.array([2.0]), "b": np.array([1.0])}  # those of the shortlist are enough
    target = Target("t", tasks=tasks, losses=losses)
    selector = TwoStage("best_on_average", "few_shot_loss", keep=2)
    assert selector.scores(target, experts).tolist() == [-1, 0, -2, -3]
    assert selector.cost(target, experts) == Cost(2, 0)
    assert TwoStage(selector, "random", keep=9).cost(target, experts) == Cost(2, 0)
    with pytest.raises(UserError, match=r"unknown selector 'rod'; did you mean 'roe'\?"):
        TwoStage("rod")
    with pytest.raises(UserError, match="a shortlist of 0"):
        TwoStage(keep=0)
