"""`multigraft experts`: from a suite to a library that routes, and one that grows without moving."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from multigraft.cli.common import run
from multigraft.cli.main import build_app
from multigraft.library.store import Library
from multigraft.strategies import expert_runs

Experts = Callable[..., int]


@pytest.fixture
def go(
    word_suite: str, backbone_folder: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Experts:
    monkeypatch.setenv("COLUMNS", "200")

    def ran(verb: str, *options: object, family: str = "bert") -> int:
        settings = ("training.passes=null", "training.steps=6", "training.epochs=2", "training.batch_size=4",
                    "training.precision=fp32", "training.max_length=20", "dev_examples=6", "method.rank=2")  # fmt: skip
        changes = [part for setting in settings for part in ("--set", setting)]
        arguments = ["experts", verb, word_suite, "--output", tmp_path / "runs", "--backbone", backbone_folder(family)]
        return run(build_app(), [str(part) for part in (*arguments, *changes, *options)])

    return ran


def test_from_a_suite_to_a_library_that_routes(go: Experts, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = tmp_path / "library"
    assert go("train", "--library", library, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["first", "second", "third"]
    assert list(Library(library).names()) == ["first", "second", "third"]
    assert all(Library(library).get(name).keys for name in found)
    assert run(build_app(), ["route", str(library), "--text", "some words", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["expert"] in found
    assert go("train", "--library", library) == 2
    assert "'first'" in capsys.readouterr().err
    assert go("train", "--library", library, "--replace", "--task", "second") == 0
    assert "1 experts in" in capsys.readouterr().out


def test_a_library_grows_and_nothing_in_it_moves(
    go: Experts, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    assert go("add", "--library", library, "--task", "first", "--task", "second", "--json") == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["added"], first["others"], second["added"], second["others"]) == ("first", 0, "second", 1)
    assert second["changed_bytes"] == second["changed_answers"] == []
    before = Library(library).get("first")

    def spoiled(*arguments: object, **settings: object) -> list[object]:
        """Writes what it should, and touches another expert on the way."""
        shelf = Library(library)
        other = shelf.get("first")
        tensors = {name: tensor + 1 for name, tensor in other.tensors().items()}
        shelf.add("first", tensors, other.card, other.key_vectors(), replace=True)
        return fill(*arguments, **settings)  # type: ignore[arg-type]

    fill = expert_runs.fill
    monkeypatch.setattr(expert_runs, "fill", spoiled)
    assert go("add", "--library", library, "--task", "third", "--json") == 1  # the proof fails
    [third] = json.loads(capsys.readouterr().out)
    assert third["changed_bytes"] == ["first"]
    assert Library(library).get("first").weights != before.weights


def test_selectors_are_judged(go: Experts, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert go("judge") == 0
    out = capsys.readouterr().out
    for name in ("roe", "oracle", "own expert", "backbone alone", "merge of all"):
        assert name in out
    found = json.loads((tmp_path / "runs/selection.json").read_text())
    assert {way["name"] for way in found["ways"]} >= {"task_routing", "few_shot_loss", "weights", "two_stage"}
    assert found["experts"] == 2


@pytest.mark.parametrize(
    ("verb", "options", "message"),
    [
        ("train", ("--per", "template"), "reads no templates"),
        ("train", ("--task", "fist"), "unknown task 'fist'; did you mean 'first'"),
        ("train", ("--method", "lorra"), "did you mean 'lora'"),
        ("judge", ("--source", "first", "--target", "first"), "no expert is left"),
        ("judge", ("--leave-out", "tusk"), "leave_out"),
    ],
)
def test_bad_input_is_one_line(
    go: Experts, verb: str, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(verb, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_tasks_are_clustered_and_experts_retrained(
    go: Experts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go("clusters", "--count", "2", "--retrain", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tasks"] == ["first", "second", "third"]
    for one in found["found"]:
        assert set(one["groups"].values()) == {0, 1}
        assert one["rand_index"] == 0  # three names for three tasks say nothing of two groups
    alone = [task for task, group in found["found"][0]["groups"].items()
             if list(found["found"][0]["groups"].values()).count(group) == 1]  # fmt: skip
    for task in alone:
        assert found["retrained"][task]["of_cluster"] == found["retrained"][task]["own"]
    for name in ("clusters.json", "clusters_weights.svg", "clusters_texts.svg"):
        assert (tmp_path / "runs" / name).exists()
