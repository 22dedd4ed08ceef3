"""`multigraft library index` and `multigraft route`: keys, rankings, and one line with code 2 for bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from multigraft.cli.common import run
from multigraft.cli.main import build_app
from multigraft.library.card import Card
from multigraft.library.store import Library

CLI = build_app()


def multigraft(*arguments: str) -> int:
    return run(CLI, list(arguments))


@pytest.fixture
def encoder(backbone_folder: Callable[..., str]) -> str:
    return backbone_folder("bert")


@pytest.fixture
def indexed(
    encoder: str, tiny_suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """In the current folder: `lib` with experts of four tasks, two of them of one, with keys; and the suite's place."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    library = Library.create(Path("lib"))
    for name, task in (("b [b]", "amount"), ("feeling", "feeling"), ("also", "feeling"), ("x", "elsewhere")):
        card = Card(task=task, method={"name": "lora"}, backbone="b", backbone_fingerprint="f",
                    tokenizer_fingerprint="k", data_fingerprint="d", template=None, seed=0, steps=1, scores={},
                    licence="CC0", parents=(), versions={})  # fmt: skip
        library.add(name, {"w": torch.zeros(1)}, card)
    index = ("library", "index", "lib", "--suite", tiny_suite, "--encoder", encoder, "--tokens", "16", "--keys", "60")
    assert multigraft(*index, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"experts": ["also", "b [b]", "feeling"], "left_out": ["x"]}
    return tiny_suite


def test_a_task_is_routed(indexed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert multigraft("route", "lib", "--task", f"{indexed}/amount", "--queries", "10", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["expert"], found["queries"], found["without_keys"]) == ("b [b]", 10, ["x"])
    assert found["keys"]["tokens"] == 16
    first = found["ranking"][0]
    assert first["votes"] > 5
    assert first["confidence"] == first["votes"] / 10
    assert first["interval"][0] < first["confidence"] < first["interval"][1] or first["confidence"] == 1
    assert first["similarity"] == pytest.approx(first["score"] / first["votes"])
    assert multigraft("route", "lib", "--task", f"{indexed}/amount") == 0
    out = capsys.readouterr().out
    assert "b [b] has" in out
    assert "left out, as they have no keys: x" in out


def test_texts_and_files_are_routed_and_ties_told(indexed: str, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ("--text", "the cat is good why", "--text", "the dog is bad who")
    assert multigraft("route", "lib", *texts, "--json") == 0
    by_text = json.loads(capsys.readouterr().out)
    assert [(p["expert"], p["votes"], p["tied"], p["decided_by"]) for p in by_text["ranking"]] == [
        ("also", 2, ["feeling"], "name"), ("feeling", 2, ["also"], "name"),
    ]  # fmt: skip
    Path("rows.csv").write_text("said,label\nthe cat is good why,x\nthe dog is bad who,y\n")
    assert multigraft("route", "lib", "--task", "rows.csv", "--field", "said", "--neighbours", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["ranking"] == by_text["ranking"]
    assert multigraft("route", "lib", *texts) == 0
    out = capsys.readouterr().out
    assert "by name" in out
    assert "also has 2 of 2 votes" in out
    far = ("--text", "7 , 9 . z", "--least-similarity", "0.999")
    assert multigraft("route", "lib", *far) == 0
    assert "abstains: " in capsys.readouterr().out
    assert multigraft("route", "lib", *far, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["expert"] is None
    assert found["reason"].endswith("its similarity is below 0.999")


def test_keys_are_made_anew_in_another_format(indexed: str, encoder: str, capsys: pytest.CaptureFixture[str]) -> None:
    index = ("library", "index", "lib", "--suite", indexed, "--encoder", encoder, "--tokens", "12")
    assert multigraft(*index, "--format", "instance+labels", "--field-names") == 0
    out = capsys.readouterr().out
    assert "100 keys at most for also, b [b], feeling" in out
    assert "left out, as the suite has no training rows of their task: x" in out
    assert multigraft("route", "lib", "--task", f"{indexed}/feeling", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["keys"]["text"] == {"parts": "instance+labels", "field_names": True}
    assert found["expert"] == "also"
    assert multigraft("library", "verify", "lib") == 0


def test_bad_input_is_one_line_and_code_2(indexed: str, encoder: str, capsys: pytest.CaptureFixture[str]) -> None:
    Library.create(Path("empty"))
    Path("bad.jsonl").write_text('{"text": "a cat"}\n{"text": 1}\n')
    index = ("library", "index", "lib", "--suite", indexed)
    for arguments, said in (
        (("route", "lib"), "nothing to route; give --task or --text"),
        (("route", "lib", "--text", "x", "--task", "y"), "both --task and --text"),
        (("route", "lib", "--text", "x", "--split", "test"), "--field and --split are for --task"),
        (("route", "lib", "--text", " "), "a text has no words"),
        (("route", "none", "--text", "x"), "none: not a library of experts"),
        (("route", "empty", "--text", "x"), "empty: no expert has key vectors; run multigraft library index"),
        (("route", "lib", "--task", "bad.jsonl"), "bad.jsonl:2: field 'text' must be text, got 1"),
        (("route", "lib", "--task", "none.csv"), "none.csv: cannot be read"),
        (("route", "lib", "--text", "x", "--least-confidence", "2"), "'--least-confidence'"),
        (("route", "lib", "--text", "x", "--neighbours", "0"), "'--neighbours'"),
        ((*index, "--format", "instant"), "unknown text format 'instant'; did you mean 'instance'?"),
        ((*index, "--encoder", "pocket"), "pocket: not a sentence encoder"),
        ((*index, "--encoder", encoder, "--tokens", "99"), "cannot cut texts at 99 tokens; choose from 3 to 40"),
        (("library", "index", "lib", "--suite", "none"), "none: no such suite"),
        (("library", "index", "empty", "--suite", indexed, "--encoder", encoder, "--tokens", "9"), "no expert's task"),
    ):
        assert multigraft(*arguments) == 2, arguments
        error = capsys.readouterr().err
        assert said in error, error
        assert len(error.splitlines()) == 1
