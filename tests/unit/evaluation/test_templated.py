"""Answers in templates, and the score of chance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multigraft.backbones.tiny import tiny_text_backbone
from multigraft.evaluation import templated
from multigraft.evaluation.cache import Cache
from multigraft.evaluation.templated import Asking, Kept, answer, chance, targets_of
from multigraft.methods.bank import Bank
from multigraft.methods.heads_only import HeadsOnly
from multigraft.methods.lora import LoRA
from multigraft.methods.text_model import TextModel
from multigraft.tasks.outputs import Example
from multigraft.tasks.task import Task
from multigraft.tasks.template import Template

TEMPLATES = (Template(name="a", input="{{ x }} ?"), Template(name="b", input="who {{ x }}", choices=None))
OUTPUTS = {
    "choice": {"kind": "choice", "field": "y", "choices": ["red", "blue", "big"]},
    "rows": {"kind": "choice", "field": "y", "choices_field": "o"},
    "number": {"kind": "number", "field": "y", "range": [1, 5]},
    "text": {"kind": "text", "field": "y"},
}
METRIC = {"choice": "accuracy", "rows": "accuracy", "number": "pearson", "text": "exact_match"}
ROWS = {
    "choice": [Example((f"a {i}",), ("red", "blue", "big"), i % 3) for i in range(6)],
    "rows": [Example((f"a {i}",), ("red", "blue", "dog", "cat")[: 2 + i % 3], i % 2) for i in range(6)],
    "number": [Example((f"a {i}",), (), 1.0 + i % 5) for i in range(6)],
    "text": [Example((f"a {i}",), (), "yes", ("yes", "no")) for i in range(6)],
}


def task_of(kind: str) -> Task:
    """A task with this output."""
    record = {"name": kind, "cluster": "c", "inputs": ["x"], "output": OUTPUTS[kind], "metric": METRIC[kind]}
    return Task.model_validate(record | {"splits": {"train": "train.jsonl"}})


@pytest.fixture(scope="module")
def model() -> TextModel:
    backbone = tiny_text_backbone("t5")
    return TextModel(backbone, Bank(HeadsOnly(), backbone, ["one"]), tuned=False)


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("shots", [0, 2])
def test_every_example_is_asked_in_every_template(model: TextModel, kind: str, shots: int) -> None:
    rows, form = ROWS[kind], model.backbone.text_format(38, 4)
    asking = Asking(shots=shots, max_tokens=4, precision="fp32")
    found = answer(model, 0, task_of(kind), rows, TEMPLATES, form, asking, rows)
    assert found.templates == ("a", "b")
    assert found.answers.shape[:3] == (1, 2, 6)
    assert np.isfinite(found.scores()).all() or kind == "number"  # equal answers have no correlation
    one = answer(model, 0, task_of(kind), rows[2:3], TEMPLATES[1:], form, asking, rows)
    assert np.array_equal(one.answers[0, 0, 0], found.answers[0, 1, 2])
    if kind == "number":
        assert set(found.answers.ravel()) <= {1.0, 2.0, 3.0, 4.0, 5.0}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_what_was_answered_is_not_asked_again(
    model: TextModel, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, form, task = ROWS[kind], model.backbone.text_format(38, 4), task_of(kind)
    asked: list[int] = []
    for name in ("score_options", "generate"):
        plain = getattr(templated, name)

        def spy(*arguments: Any, plain: Any = plain, **named: Any) -> Any:
            asked.append(1)
            return plain(*arguments, **named)

        monkeypatch.setattr(templated, name, spy)

    def ask(kept: Kept | None, templates: Sequence[Template] = TEMPLATES, **changes: Any) -> tuple[np.ndarray, int]:
        asked.clear()
        asking = Asking(**{"max_tokens": 4, "precision": "fp32", **changes})
        return answer(model, 0, task, rows, templates, form, asking, rows, kept=kept).answers, len(asked)

    kept = Kept(Cache(tmp_path), model.fingerprint(0))
    plain, _ = ask(None)
    first, times = ask(kept)
    assert times == 2
    assert np.array_equal(first, plain)
    again, times = ask(kept)
    assert times == 0
    assert np.array_equal(again, first)
    other = Template(name="b", input="who is {{ x }}")  # another wording under a known name
    assert ask(kept, [TEMPLATES[0], other])[1] == 1
    for changes in ({"shots": 1}, {"norm": "bytes"}, {"options": False}, {"max_tokens": 3}):
        assert ask(kept, **changes)[1] == 2
    assert ask(Kept(kept.cache, "another model"))[1] == 2


def test_fingerprints_tell_weights_and_experts_apart() -> None:
    backbone = tiny_text_backbone("t5")
    model = TextModel(backbone, Bank(LoRA(), backbone, ["one", "two"]), tuned=False)
    one, two = model.fingerprint(0), model.fingerprint(1)
    assert one != two
    assert model.fingerprint(0) == one
    with torch.no_grad():
        next(iter(model.language_model.parameters()))[0] += 1
    assert model.fingerprint(0) != one


def test_the_score_of_chance() -> None:
    assert chance(task_of("text"), ROWS["text"]) is None
    assert chance(task_of("choice"), ROWS["choice"] * 20) == pytest.approx(100 / 3, abs=2)
    # Two, three and four options come equally often.
    assert chance(task_of("rows"), ROWS["rows"] * 20) == pytest.approx(100 * (1 / 2 + 1 / 3 + 1 / 4) / 3, abs=2)
    assert chance(task_of("number"), ROWS["number"] * 20) == pytest.approx(0, abs=3)


def test_targets_tell_texts_apart() -> None:
    found = targets_of([Example(("x",), (), "yes"), Example(("x",), (), "no"), Example(("x",), (), "yes")])
    assert found[0] == found[2] != found[1]
