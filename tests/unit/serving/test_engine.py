"""Whatever is loaded answers as its parts do, and questions in one batch are answered as each alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multigraft.errors import UserError
from multigraft.evaluation.answers import Answer, Answerer
from multigraft.library.retrieval.index import Index
from multigraft.library.retrieval.instances import of_texts
from multigraft.library.retrieval.keys import Router
from multigraft.library.retrieval.votes import Votes
from multigraft.library.store import Library
from multigraft.serving.loading import load_engine

ROWS: list[tuple[dict[str, Any], list[str] | None]] = [
    ({"text": "the cat is good"}, ["feeling"]),
    ({"text": "red red blue"}, ["amount"]),
    ({"texts": ["the dog is one", "who is two"]}, None),
    ({"text": "the dog is bad why the dog is bad"}, None),
    ({"text": "a red cat", "options": ["blue", "red", "big"]}, ["pick"]),
    ({"text": "a red cat", "options": ["blue", "red"]}, None),
    ({"text": "blue"}, ["amount"]),
]


def same(one: dict[str, Answer], other: dict[str, Answer], near: float = 1e-4) -> None:
    assert list(one) == list(other)
    for name, answer in one.items():
        assert answer.text == other[name].text
        assert answer.number == pytest.approx(other[name].number, abs=near)
        assert dict(answer.probabilities) == pytest.approx(dict(other[name].probabilities), abs=near)


def test_a_mixed_batch_answers_as_each_alone(model: Path) -> None:
    engine = load_engine(model)
    questions = [engine.predicted(row, tasks) for row, tasks in ROWS]
    together = engine.predict(questions)
    for (row, tasks), question, answers in zip(ROWS, questions, together, strict=True):
        same(answers, engine.predict([question])[0])
        same(answers, {name: Answerer.load(model, [name]).answer([row])[0][name] for name in answers})
        assert tasks is None or list(answers) == tasks
        for answer in answers.values():
            assert not answer.probabilities or sum(dict(answer.probabilities).values()) == pytest.approx(1)


def test_different_tasks_share_a_pass(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load_engine(model)
    passes: list[int] = []
    from multigraft.methods.joint import JointModel

    values = JointModel.values

    def counted(self: JointModel, ids: Any, *others: Any) -> Any:
        passes.append(len(ids))
        return values(self, ids, *others)

    monkeypatch.setattr(JointModel, "values", counted)
    engine.predict([engine.predicted(row, tasks) for row, tasks in ROWS if tasks is not None])
    assert passes == [1 + 1 + 3 + 1]  # an option is a sequence


def test_experts_of_a_library_answer_with_their_own_method(library: Path, model: Path) -> None:
    engine = load_engine(library)
    assert (engine.kind, engine.offers) == ("library", ("predict", "generate", "route"))
    entries = {entry.name: entry for entry in engine.entries}
    assert entries["feeling again"].method == "lora"
    assert entries["feeling"].method == "low_rank"
    assert (entries["feeling again"].task, entries["feeling again"].scores) == ("feeling", {"accuracy": 50.0})
    assert [name for name, entry in entries.items() if entry.kind == "text"] == ["reply"]
    assert [name for name, entry in entries.items() if not entry.routed] == ["reply"]
    text = {"text": "the cat is good why"}
    (found,) = engine.predict([engine.predicted(text, None)])
    assert set(found) == {"feeling", "amount", "animal", "feeling again", "amount again"}  # `pick` lacks options
    # The model computes in float32, a library in bfloat16 where the machine is fast in it.
    same({"feeling": found["feeling"]}, Answerer.load(model, ["feeling"]).answer([text])[0], 0.03)
    for name in ("feeling", "amount"):  # in the folders that these were taken from
        alone = Answerer.load(library.parent / name).answer([text])[0]
        same({name: found[f"{name} again"]}, alone, 0.03)
    (only,) = engine.predict([engine.predicted(text, ["feeling again"])])
    same(only, {"feeling again": found["feeling again"]}, 0.03)
    assert dict(only["feeling again"].probabilities) != pytest.approx(dict(found["feeling"].probabilities), abs=0.05)


def test_some_experts_of_a_library(library: Path) -> None:
    engine = load_engine(library, ["amount", "feeling"])
    assert [entry.name for entry in engine.entries] == ["amount", "feeling"]
    (found,) = engine.route([engine.routed([["the cat is good why"]], 0, -1)])
    assert {one.expert for one in found["nearest"]} == {"amount", "feeling"}
    assert load_engine(library, ["reply"]).offers == ("generate",)
    with pytest.raises(UserError, match="unknown expert 'amonut'; did you mean 'amount'"):
        load_engine(library, ["amonut"])


def test_routes_are_those_of_the_router(library: Path) -> None:
    engine = load_engine(library)
    texts = ["the cat is good why", "red red blue", "a small dog"]
    together = engine.route([engine.routed([[text]], 0.0, -1.0) for text in texts])
    router = Router(Index.of(Library(library)))
    for text, found in zip(texts, together, strict=True):
        votes = Votes()
        router.vote(of_texts([text]), votes)
        assert found["expert"] == votes.decide().expert
        assert [place.expert for place in found["ranking"]] == [place.expert for place in votes.ranking()]
        assert found["nearest"][0].similarity == pytest.approx(votes.ranking()[0].similarity, abs=1e-5)
        assert [one.similarity for one in found["nearest"]] == sorted(
            (one.similarity for one in found["nearest"]), reverse=True
        )
        assert found["without_keys"] == ("reply",)
    (all_of_them,) = engine.route([engine.routed([[text] for text in texts], 0.0, -1.0)])
    assert all_of_them["queries"] == 3
    (unsure,) = engine.route([engine.routed([["7 , 9"]], 0.0, 0.9999)])
    assert unsure["expert"] is None


def test_a_map_of_what_has_keys_or_prompts(library: Path) -> None:
    assert load_engine(library).maps is None  # the one that writes has neither
    maps = load_engine(library, ["amount", "feeling", "animal"]).maps
    assert maps is not None
    assert all(drawing.startswith("<svg") and "animal" in drawing for drawing in maps)
    assert load_engine(library, ["amount"]).maps is None


def test_texts_are_written_together_as_alone(text_model: Path) -> None:
    engine = load_engine(text_model)
    assert (engine.kind, engine.offers, engine.most_tokens) == ("text model", ("generate",), 8)
    asked = [engine.written(text, expert, 4) for text in ("the cat", "red blue", "") for expert in ("a", "b")]
    together = engine.generate(asked)
    assert together == [engine.generate([one])[0] for one in asked]
    assert engine.written("a", "b", None).tokens == 8


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda e: e.written("a", None, None), "2 experts write; name one of a, b"),
        (lambda e: e.written("a", "c", None), "unknown expert 'c'"),
        (lambda e: e.written("a", "a", 9), "max_tokens is 9; a writes 8 at most"),
        (lambda e: e.predicted({"text": "a"}, None), "no task in here has a head"),
        (lambda e: e.routed([["a"]], 0, -1), "no key vectors to route by"),
    ],
)
def test_what_a_text_model_cannot_answer(text_model: Path, ask: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ask(load_engine(text_model))


def test_what_a_model_cannot_answer(model: Path) -> None:
    engine = load_engine(model, ["animal"])
    with pytest.raises(UserError, match=r"no task can answer it: it has \['text'\]; inputs are: animal"):
        engine.predicted({"text": "a"}, None)
    with pytest.raises(UserError, match="unknown task 'feeling'"):
        engine.predicted({"text": "a"}, ["feeling"])
    with pytest.raises(UserError, match="nothing in here writes"):
        engine.written("a", None, None)
    with pytest.raises(UserError, match="no task can answer it"):
        engine.predicted({"texts": []}, None)


def test_what_cannot_be_served(tmp_path: Path, library: Path) -> None:
    with pytest.raises(UserError, match="no model in here"):
        load_engine(tmp_path)
    Library.create(tmp_path / "empty")
    with pytest.raises(UserError, match="the library is empty"):
        load_engine(tmp_path / "empty")
    broken = tmp_path / "broken"
    shutil.copytree(library, broken)
    for path in (broken / "objects").rglob("*.safetensors"):
        path.unlink()
    with pytest.raises(UserError, match="missing"):
        load_engine(broken)
