"""The pretraining of `pocket`: what text goes in, the forms of examples, and a run that goes on as if never stopped."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from multigraft.backbones.load import load_tokenizer
from multigraft.errors import UserError

TOOLS = Path(__file__).parents[3] / "tools"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("pretrain_pocket")


@pytest.fixture
def corpus(tool: ModuleType) -> ModuleType:
    return importlib.import_module("pocket_corpus")


@pytest.fixture
def objectives(tool: ModuleType) -> ModuleType:
    return importlib.import_module("pocket_objectives")


def sentence(number: int) -> str:
    return (
        f"The {number} grey birds flew over the old river. They sat down on roof {number}! Did anyone see them leave?"
    )


def write_task(data: Path, name: str, splits: dict[str, list[dict[str, Any]]]) -> None:
    for split, rows in splits.items():
        path = data / "tasks" / name / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two tasks to read, and one of a cluster that stays unseen."""
    data, label = tmp_path / "data", {"kind": "choice", "field": "label", "choices": ["dull", "bright"]}
    index = {
        "mood": {"cluster": "sentiment", "inputs": ["text"], "output": label},
        "short": {"cluster": "summarization", "inputs": ["text"], "output": {"kind": "text", "field": "target"}},
        "follows": {"cluster": "nli", "inputs": ["premise"], "output": label},
    }
    rows = [{"text": sentence(n), "label": "bright"} for n in range(200)]
    rows += [
        {"text": "as I heard today, " + sentence(500), "label": "dull"},  # holds a text of an evaluation split
        {"text": "They sat down on roof 600", "label": "dull"},  # lies within one
        {"text": "all of the pale horses ran home!", "label": "dull"},  # in an unseen task's train split
        {"text": "the 7 grey birds flew over", "label": "dull"},  # lies within another train text
        {"text": "much too short", "label": "dull"},
    ]
    write_task(data, "mood", {"train": rows, "validation": [{"text": sentence(500), "label": "dull"}]})
    targets = [
        {"text": f"A long tale of {n} pages that nobody read", "target": f"Here is what tale {n} told us"}
        for n in range(40)
    ]
    write_task(data, "short", {"train": targets, "test": [{"text": sentence(600), "target": "x"}]})
    write_task(data, "follows", {"train": [{"premise": "All of the pale horses ran home.", "label": "dull"}]})
    (data / "tasks" / "index.json").write_text(json.dumps(index))
    return data


def test_what_goes_in(corpus: ModuleType, data: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer("minilm")
    found = corpus.corpus_of(data, tmp_path / "corpus", tokenizer)
    assert set(found.counts) == {"mood", "short"}
    mood = found.counts["mood"]
    assert (mood["texts"], mood["blocked"], mood["within_another"]) == (200, 3, 1)
    assert found.counts["short"]["texts"] == 80
    texts = [tokenizer.decode(t) for held_out in (False, True) for t in found.texts(held_out=held_out)]
    assert len(texts) == 280 == len(set(texts))
    assert not any("bright" in text or "dull" in text or "horses" in text or "500" in text for text in texts)
    assert 0 < found.held_out.sum() < 60
    again = corpus.corpus_of(tmp_path / "gone", tmp_path / "corpus", tokenizer)  # from its folder
    assert np.array_equal(again.pieces, found.pieces)
    assert np.array_equal(again.held_out, found.held_out)


def test_containments(corpus: ModuleType) -> None:
    texts, phrases = [[*"abcdefgh"], [*"xbcdefg"]], [[*"bcdefg"], [*"abcdefgx"], [*"a"]]
    found = corpus.containments([tuple(text) for text in texts], [tuple(phrase) for phrase in phrases])
    assert set(found) == {(0, 0), (1, 0)}


def test_no_data(corpus: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the tasks"):
        corpus.corpus_of(tmp_path, tmp_path / "corpus", None)
    assert not (tmp_path / "corpus").exists()


@pytest.fixture
def forms(objectives: ModuleType) -> Any:
    tokenizer = load_tokenizer("minilm")
    texts = [" ".join(sentence(n + i) for i in range(n % 9 + 1)) for n in range(30)]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return objectives.Forms([np.array(row, np.uint16) for row in ids], tokenizer)


def test_every_example_fits(forms: Any, objectives: ModuleType) -> None:
    rng = np.random.default_rng(0)
    drawn = [forms.draw(rng) for _ in range(400)]
    assert {pair.form for pair in drawn} == set(objectives.SHARES)
    for pair in drawn:
        assert pair.input[0] == 101
        assert pair.input[-1] == 102
        assert 3 <= len(pair.input) <= objectives.LONGEST_INPUT
        assert 1 <= len(pair.target) <= objectives.LONGEST_TARGET
        assert 102 not in pair.target[:-1]
        assert 0 not in pair.input + pair.target
        assert pair.form == "continue" or pair.target[-1] == 102


def is_part(part: list[int], whole: list[int]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def without_request(forms: Any, form: str, pieces: list[int]) -> list[list[int]]:
    """The pieces without a request in front or at the end, in every way that it may stand there."""
    requests = [request for request in forms.requests[form] if request]
    before = [pieces[len(r) :] for r in requests if pieces[: len(r)] == r]
    return [pieces, *before, *[pieces[: -len(r)] for r in requests if pieces[-len(r) :] == r]]


def test_what_each_form_asks(forms: Any) -> None:
    rng, texts = np.random.default_rng(1), [text.tolist() for text in forms.texts]
    for _ in range(40):
        for form in ("continue", "sentence"):
            pair = forms.draw(rng, form)
            rest = [piece for piece in pair.target if piece != 102]
            assert any(is_part(pair.input[1:-1] + rest, text) for text in texts)
        assert forms.is_end[pair.target[-2]]
        fill = forms.draw(rng, "fill")
        assert fill.input.count(103) == 1
        at = fill.input.index(103)
        whole = [*fill.input[1:at], *fill.target[:-1], *fill.input[at + 1 : -1]]
        assert any(is_part(passage, text) for passage in without_request(forms, "fill", whole) for text in texts)
        choose = forms.draw(rng, "choose")
        assert is_part([*forms.options_line, *forms.dash], choose.input)
        assert is_part([*forms.dash, *choose.target[:-1]], choose.input)
        restore = forms.draw(rng, "restore")
        assert 103 in restore.input
        assert any(is_part(restore.target[:-1], text) for text in texts)


def test_groups_hold_every_row_once(tool: ModuleType, forms: Any) -> None:
    pairs = tool.pairs_of_step(forms, 0, 3, 50)
    assert pairs == tool.pairs_of_step(forms, 0, 3, 50) != tool.pairs_of_step(forms, 0, 4, 50)
    rows = [
        (form, tuple(source[source != 0].tolist()), tuple(target[target != 0].tolist()))
        for batch in tool.groups(pairs)
        for form, source, target in zip(batch.forms, batch.input, batch.target)
    ]
    assert sorted(rows) == sorted((pair.form, tuple(pair.input), tuple(pair.target)) for pair in pairs)


def test_the_rate_rises_stays_and_falls(tool: ModuleType) -> None:
    plan = tool.Plan(steps=100, rows=1, rate=2.0, warmup=10, seed=0)
    rates = [plan.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert set(rates[9:76]) == {2.0}
    assert rates[-1] == pytest.approx(0.08)


def test_baselines(tool: ModuleType, objectives: ModuleType) -> None:
    pairs = [objectives.Pair("fill", [7, 5], [5]), objectives.Pair("fill", [8, 6], [6])]
    words = tool.unigram([objectives.Pair("fill", [1], [5, 5, 6])], 10)
    assert words.sum() == pytest.approx(1)
    assert words[5] == pytest.approx(2.1 / 4)
    assert tool.unigram_nats(pairs, words)["all"] == pytest.approx(-(np.log(2.1 / 4) + np.log(1.1 / 4)) / 2)
    plain = tool.copy_nats(pairs, words, [objectives.Pair("fill", [1], [5])])  # where nothing can be copied
    assert plain == tool.unigram_nats(pairs, words)
    copied = tool.copy_nats(pairs, words, [objectives.Pair("fill", [5], [5])])
    expected = [0.99 * 0.5 + 0.01 * words[piece] for piece in (5, 6)]
    assert copied["fill"] == pytest.approx(-np.log(expected).mean())


@pytest.fixture
def small(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool with a small model and few examples to measure on."""
    for name, value in (("FITTED_ON", 30), ("MEASURED", 1), ("MEASURED_LAST", 2)):
        monkeypatch.setattr(tool, name, value)
    monkeypatch.setattr("multigraft.backbones.pocket.START_LAYERS", (0,))  # a decoder of one layer
    return tool


def test_a_run_that_was_killed_ends_as_if_it_had_not_been(
    small: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--data", str(data), "--steps", "4", "--rows", "4", "--warmup", "2", "--every", "2"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    small.main([str(whole), *settings])
    advance = small.Run.advance

    def killed(run: Any) -> float:
        if run.step == 3:
            raise KeyboardInterrupt
        return advance(run)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(small.Run, "advance", killed)
        small.main([str(cut), *settings])
    with pytest.raises(UserError, match="has a checkpoint already"):
        small.main([str(cut), *settings])
    with pytest.raises(UserError, match="started with another --rows"):
        small.main([str(cut), "--resume", "--rows", "8"])
    small.main([str(cut), "--data", str(data), "--resume", "--every", "2"])
    for name in ("weights", "optimizer"):
        first, second = (load_file(run / "checkpoint" / f"{name}.safetensors") for run in (whole, cut))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
    logs = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (whole, cut)]
    results = [[(line["step"], line["pieces"], line["loss"], line["held_out"]) for line in log] for log in logs]
    assert results[0] == results[1]
    assert [line["step"] for line in logs[0]] == [2, 4]

    capsys.readouterr()
    small.main([str(cut), "--data", str(data), "--finish"])
    printed, written = capsys.readouterr().out, load_file(cut / "pocket.safetensors")
    weights = load_file(cut / "checkpoint" / "weights.safetensors")
    assert all(torch.equal(written[key], weights[key].half()) for key in weights)
    card = (cut / "POCKET.md").read_text()
    assert printed.split("'")[1] in card
    assert "| mood | 200 |" in card
    assert "| choose |" in card


def test_nothing_to_go_on_from(tool: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint yet"):
        tool.main([str(tmp_path / "run"), "--finish"])
    with pytest.raises(UserError, match="no checkpoint yet"):
        tool.main([str(tmp_path / "run"), "--resume"])
