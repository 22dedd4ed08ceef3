"""Answers to new texts: those of the plain way, one text and one task at a time, whatever is asked together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multigraft.batching.encode import encode
from multigraft.errors import UserError
from multigraft.evaluation import answers
from multigraft.evaluation.answers import Answerer, rows_of_file
from multigraft.evaluation.report import score_model
from multigraft.evaluation.scoring import predict
from multigraft.library.model_folder import load_model
from multigraft.settings import build
from multigraft.strategies.data import load_data
from multigraft.strategies.multitask import run
from multigraft.strategies.recipe import Recipe
from multigraft.tasks.outputs import Example

MakeRecipe = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module", params=[False, True], ids=["joint", "separate"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_suite: str) -> Path:
    tiny_recipe: MakeRecipe = request.getfixturevalue("tiny_recipe")
    folder = tmp_path_factory.mktemp("trained")
    recipe = build(Recipe, tiny_recipe(separate=request.param), "recipe")
    run(recipe, load_data(recipe), folder, quiet=True)
    return folder


def plain(folder: Path, name: str, examples: list[Example]) -> np.ndarray:
    """Predictions of a task's expert through the evaluation path."""
    place = folder / "model" if (folder / "model").exists() else folder / name / "model"
    model, tasks, file = load_model(place)
    data = encode(tasks[name], examples, model.backbone.tokenizer, file.max_length)
    return predict(model, data, model.names.index(name), file.precision)


def test_all_tasks_answer_as_they_do_alone(trained: Path) -> None:
    texts = ["the cat is good one", "red red blue", "a dog", "no why who"]
    answerer = Answerer.load(trained)
    together = answerer.answer([{"text": text} for text in texts])
    assert [sorted(found) for found in together] == [["amount", "feeling"]] * 4  # the others need more than a text
    wanted = plain(trained, "feeling", [Example((text,), ("bad", "good"), 0) for text in texts])
    assert [found["feeling"].text for found in together] == [["bad", "good"][int(index)] for index in wanted]
    numbers = plain(trained, "amount", [Example((text,), (), 1.0) for text in texts])
    scaled = [1 + 4 * min(1, max(0, value)) for value in numbers]
    assert [found["amount"].number for found in together] == pytest.approx(scaled, abs=1e-4)
    assert all(0.5 <= found["feeling"].probability <= 1 for found in together)  # type: ignore[operator]


def test_pairs_and_options_of_the_row(trained: Path) -> None:
    answerer = Answerer.load(trained)
    pair, options = answerer.answer(
        [{"texts": ["the dog is one", "who is two"]}, {"text": "a red cat", "options": ["blue", "red", "big"]}]
    )
    assert list(pair) == ["animal"]
    assert pair["animal"].text in ("none", "cat", "dog")
    wanted = plain(trained, "pick", [Example(("a red cat",), ("blue", "red", "big"), 0)])
    assert options["pick"].text == ["blue", "red", "big"][int(wanted[0])]
    assert set(options) == {"feeling", "amount", "pick"}


@pytest.mark.parametrize("positions", [answers.POSITIONS, 8])
def test_each_row_has_tasks_of_its_own(trained: Path, positions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "POSITIONS", positions)
    answerer = Answerer.load(trained)
    rows: list[dict[str, Any]] = [
        {"text": "the cat is good one"}, {"text": "red red blue"}, {"texts": ["the dog is one", "who is two"]},
        {"text": "a red cat", "options": ["blue", "red", "big"]}, {"text": "a dog", "options": ["red", "big"]},
    ]  # fmt: skip
    tasks = [["feeling"], ["amount"], None, ["pick"], None]
    together = answerer.answer(rows, tasks)
    assert [list(found) for found in together[:4]] == [["feeling"], ["amount"], ["animal"], ["pick"]]
    assert set(together[4]) == {"feeling", "amount", "pick"}
    for row, found in zip(rows, together, strict=True):
        for name, answer in answerer.answer([row])[0].items():
            if name in found:
                assert found[name].number == pytest.approx(answer.number, abs=1e-4)
                assert dict(found[name].probabilities) == pytest.approx(dict(answer.probabilities), abs=1e-4)
    with pytest.raises(UserError, match=r"row 2: no task can answer it: .* inputs are: animal"):
        answerer.answer(rows[:2], [None, ["animal"]])


def test_only_the_tasks_asked_for(trained: Path) -> None:
    (found,) = Answerer.load(trained, ["amount"]).answer([{"text": "red blue"}])
    assert list(found) == ["amount"]
    assert found["amount"].record() == {"number": found["amount"].number}
    with pytest.raises(UserError, match="unknown task 'amont'; did you mean 'amount'"):
        Answerer.load(trained, ["amont"])


def test_a_row_that_no_task_can_answer(trained: Path) -> None:
    with pytest.raises(UserError, match=r"row 2: no task can answer it: it has \['words'\]"):
        Answerer.load(trained).answer([{"text": "red"}, {"words": "red"}])


def test_rows_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,about\nred,who\n")
    assert rows_of_file(tmp_path / "rows.csv") == [{"text": "red", "about": "who"}]
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UserError, match="no rows"):
        rows_of_file(tmp_path / "empty.jsonl")
    with pytest.raises(UserError, match="unknown format"):
        rows_of_file(tmp_path / "rows.pickle")


def test_scores_of_a_model_are_those_of_its_run(trained: Path, tiny_suite: str) -> None:
    from multigraft.strategies.runs import finished

    result = finished(trained)
    assert result is not None
    found = {entry.task: entry for entry in score_model(trained, None, "validation", None, None)}
    assert {name: entry.score for name, entry in found.items()} == pytest.approx(result.scores, abs=1e-3)
    for entry in found.values():
        assert entry.interval[0] <= entry.score <= entry.interval[1]
        assert entry.rows == 30
    (one,) = score_model(trained, tiny_suite, "test", ["animal"], 7)
    assert (one.task, one.metric, one.rows) == ("animal", "macro_f1", 7)
    with pytest.raises(UserError, match="unknown task 'anymal'; did you mean 'animal'"):
        score_model(trained, None, "test", ["anymal"], None)
