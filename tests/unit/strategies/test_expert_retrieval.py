"""Retrieval of experts: who answers for a target, what it may use, and that nothing is trained or asked twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multigraft.errors import UserError
from multigraft.settings import build
from multigraft.strategies import crossing, experts
from multigraft.strategies.compare import compare
from multigraft.strategies.crossing import Crossed, templated
from multigraft.strategies.expert_answers import Answers
from multigraft.strategies.expert_retrieval import ExpertRetrieval, cross_fitted, mixed
from multigraft.strategies.retrieval_recipe import CompareRetrieval, RetrievalRecipe

MakeRecipe = Callable[..., Any]


@pytest.fixture
def make(word_suite: str, backbone_folder: Callable[..., str]) -> MakeRecipe:
    def made(family: str = "bert", kind: type = RetrievalRecipe, **changes: Any) -> Any:
        values: dict[str, Any] = {
            "suite": word_suite, "backbone": {"name": backbone_folder(family)}, "dev_examples": 6,
            "method": {"name": "lora", "rank": 2}, "text": {"max_input": 30, "max_target": 8},
            "training": {"steps": 8, "epochs": 2, "batch_size": 4, "precision": "fp32", "checkpoint_seconds": 0,
                         "module_learning_rate": 0.01, "max_length": 20},
        }  # fmt: skip
        return build(kind, values | changes, "recipe")

    return made


ROWS: list[dict[str, Any]] = [
    {"use": "backbone"},
    {"use": "own"},
    {"use": "select", "by": "roe"},
    {"use": "select", "by": "few_shot_loss"},
    {"use": "select", "by": "task_routing"},
    {"use": "select", "by": "weights"},
    {"use": "mixture", "by": "entropy", "k": 2},
    {"use": "merge", "k": None},
    {"use": "oracle"},
    {"use": "multitask"},
]


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_every_way_is_compared_on_equal_terms(make: MakeRecipe, tmp_path: Path, family: str) -> None:
    results = compare(make(family, CompareRetrieval, rows=ROWS), tmp_path, quiet=True)
    labels = [row.label for row in results.rows]
    assert labels[:3] == ["backbone alone", "own experts, lora (rank 2)", "selected by roe"]
    assert len(set(labels)) == len(ROWS)
    assert results.task_map is not None
    for row in results.rows:
        assert set(row.scores) == {"first", "second", "third"}


def test_a_run_trains_and_asks_nothing_twice(make: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"use": "own"}, {"use": "select", "by": "roe"}]
    first = compare(make(kind=CompareRetrieval, rows=rows), tmp_path, quiet=True)
    (tmp_path / "results.json").unlink()

    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(experts, "train", never)
    monkeypatch.setattr(crossing, "by_heads", never)
    again = compare(make(kind=CompareRetrieval, rows=[*rows, {"use": "oracle"}][:2]), tmp_path, quiet=True)
    assert [row.scores for row in again.rows] == [row.scores for row in first.rows]


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_own_experts_answer_as_when_they_were_trained(make: MakeRecipe, tmp_path: Path, family: str) -> None:
    recipe = make(family, use="own")
    way = ExpertRetrieval(tmp_path)
    result = way.run(recipe, tmp_path / "run", quiet=True)
    for name, one in way.pool(recipe).own(way.sources(recipe)).items():
        assert result.scores[name] == pytest.approx(float(one.answers().scores().mean()))


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_an_expert_is_asked_beside_others_as_alone(make: MakeRecipe, tmp_path: Path, family: str) -> None:
    recipe = make(family, use="own")
    pool = ExpertRetrieval(tmp_path).pool(recipe)
    parcels = pool.parcels(["first", "second"])
    together = pool.crossing.cross(parcels, ["third"])["third"]
    for parcel in parcels:
        alone = crossing.Crossing(pool.asked, tmp_path / parcel.name).cross([parcel], ["third"])["third"][parcel.name]
        np.testing.assert_allclose(alone.few.losses, together[parcel.name].few.losses, atol=1e-4)
        np.testing.assert_allclose(alone.scored.chances, together[parcel.name].scored.chances, atol=1e-4)  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize(
    ("leave_out", "allowed"), [("task", {"second", "third"}), ("nothing", {"first", "second", "third"})]
)
def test_a_target_uses_what_it_may(make: MakeRecipe, tmp_path: Path, leave_out: str, allowed: set[str]) -> None:
    recipe = make(use="select", by="random", leave_out=leave_out)
    assert set(ExpertRetrieval(tmp_path).open_to(recipe, "first")) == allowed


def test_experts_of_templates_are_named_and_carded_by_them(make: MakeRecipe, tmp_path: Path) -> None:
    recipe = make("t5", use="own", per="template", templates="no template")
    parcels = ExpertRetrieval(tmp_path).pool(recipe).parcels(["first", "second"])
    assert [(one.name, one.card.task, one.card.template) for one in parcels] == [
        ("first.no-template", "first", "no template"), ("second.no-template", "second", "no template"),
    ]  # fmt: skip
    with pytest.raises(UserError, match="reads no templates"):
        ExpertRetrieval(tmp_path).check(make(use="own", per="template"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use": "select"}, "'select' needs a ranking"),
        ({"use": "select", "by": "rose"}, "did you mean 'roe'"),
        ({"use": "oracle", "by": "roe"}, "'by' is for select"),
        ({"use": "own", "k": 2}, "'k' is for mixture"),
        ({"use": "own", "abstain": "backbone"}, "'abstain' is for select"),
        ({"use": "own", "training_of": {"first": {"step": 3}}}, "training_of.first: unknown"),
    ],
)
def test_bad_recipes_are_one_line(make: MakeRecipe, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**changes)


def test_a_target_without_experts_is_one_line(make: MakeRecipe, tmp_path: Path) -> None:
    for changes, message in (
        ({"use": "own", "sources": ["second"]}, "'first' is no source"),
        ({"use": "oracle", "sources": ["first"], "targets": ["first"]}, "no expert is left for 'first'"),
        ({"use": "own", "targets": ["fist"]}, "unknown task 'fist'; did you mean 'first'"),
        ({"use": "own", "training_of": {"fist": {"steps": 3}}}, "training_of: unknown task 'fist'"),
    ):
        with pytest.raises(UserError, match=message):
            ExpertRetrieval(tmp_path).check(make(**changes))


def crossed(chances: list[list[float]], targets: list[int]) -> Crossed:
    given = np.array(chances)[None]
    answers = Answers(given.argmax(axis=-1).astype(float), given, np.zeros((1, len(targets))))
    return Crossed("accuracy", answers, np.array(targets), answers, np.array(targets))


@pytest.mark.parametrize("abstain", ["backbone", "multitask"])
def test_an_expert_without_confidence_gives_way(make: MakeRecipe, tmp_path: Path, abstain: str) -> None:
    way = ExpertRetrieval(tmp_path)

    def answers(**changes: Any) -> dict[str, list[Any]]:
        recipe = make(**changes)
        way.check(recipe)
        pool = way.pool(recipe)
        return {name: way._answered(recipe, pool, name).answers.answers.tolist() for name in way.targets(recipe)}

    selected, other = answers(use="select", by="roe"), answers(use=abstain)
    assert selected != other
    picky = {"use": "select", "by": "roe", "abstain": abstain}
    assert answers(**picky, least_confidence=1.0) == other
    assert answers(**picky, least_confidence=0.0) == selected


def test_confidence_is_the_share_of_rows_that_are_more_likely() -> None:
    def crossed(*losses: float) -> Crossed:
        few = Answers(np.zeros((1, len(losses))), None, np.array([losses]))
        return Crossed("accuracy", few, np.zeros(len(losses)), None, np.zeros(0))

    assert crossed(1.0, 2.0, 3.0, 4.0).confidence(crossed(2.0, 2.0, 2.0, 2.0)) == (1 + 0.5) / 4


def test_a_mixture_is_the_mean_of_probabilities() -> None:
    sure, torn = crossed([[0.9, 0.1], [0.8, 0.2]], [0, 1]), crossed([[0.4, 0.6], [0.1, 0.9]], [0, 1])
    assert mixed([sure, torn]).answers[0, 0].tolist() == [0, 1]
    alone = mixed([sure, torn], np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert alone.answers[0, 0].tolist() == [0, 1]
    assert mixed([sure, torn], np.array([[0.0, 1.0], [1.0, 0.0]])).answers[0, 0].tolist() == [1, 0]


def test_the_oracle_does_not_look_at_the_rows_that_it_answers() -> None:
    # The first expert is right on even rows only, the second on odd ones: each is chosen where it fails.
    even, odd = crossed([[1, 0], [0, 1]] * 2, [0, 0, 0, 0]), crossed([[0, 1], [1, 0]] * 2, [0, 0, 0, 0])
    assert cross_fitted([even, odd]).scores().tolist() == [[0.0]]
    always = crossed([[1, 0]] * 4, [0, 0, 0, 0])
    assert cross_fitted([always, even]).scores().tolist() == [[100.0]]
    assert templated("accuracy", even.scored_targets, np.zeros((1, 4))).scores().tolist() == [[100.0]]
