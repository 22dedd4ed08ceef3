"""The hold-out compiler: each reason for leaving something out, and certificates that cannot be changed unseen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from multigraft.errors import UserError
from multigraft.tasks.holdout import Certificate, hold_out, read_certificate, verify
from multigraft.tasks.minhash import Nearness
from multigraft.tasks.suite import Suite, load_suite

LONG = "the quick brown fox jumps over the lazy dog near the old river bank"
Entry = dict[str, Any]


def make(folder: Path, tasks: dict[str, Entry], exclusions: list[list[str]] | None = None) -> Suite:
    """A suite with one text task per entry: its cluster, its sources, and its texts by split."""
    for name, entry in tasks.items():
        splits = entry.pop("rows", {"train": [f"{name} learns {n}" for n in range(5)], "test": [f"{name} is asked"]})
        task = {"name": name, "inputs": ["text"], "output": {"kind": "text", "field": "reply"}, "metric": "bleu"}
        task |= entry | {"splits": {split: f"{split}.jsonl" for split in splits}}
        (folder / name).mkdir(parents=True)
        (folder / name / "task.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
        for split, texts in splits.items():
            lines = [json.dumps({"text": text, "reply": "x"}) + "\n" for text in texts]
            (folder / name / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    suite = {"name": "made", "tasks": list(tasks), "exclusions": exclusions or []}
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    return load_suite(folder)


def why(certificate: Certificate) -> dict[str, list[str]]:
    return {entry.task: [reason.kind for reason in entry.reasons] for entry in certificate.left_out}


def texts(certificate: Certificate, task: str) -> list[str]:
    return [reason.text for entry in certificate.left_out if entry.task == task for reason in entry.reasons]


def test_the_tasks_of_the_cluster_are_left_out(tmp_path: Path) -> None:
    suite = make(tmp_path, {"a": {"cluster": "one"}, "b": {"cluster": "one"}, "c": {"cluster": "two"}})
    certificate = hold_out(suite, ["one"])
    assert (certificate.held_out, certificate.trained_on) == (("a", "b"), ("c",))
    assert why(certificate) == {"a": ["held_out"], "b": ["held_out"]}
    assert texts(certificate, "a") == ["belongs to the held-out cluster one"]
    assert [(rows.task, rows.split, rows.rows) for rows in certificate.rows] == [
        ("a", "test", 1),
        ("b", "test", 1),
        ("c", "train", 5),
    ]


def test_a_task_is_unseen_only_if_all_its_clusters_are(tmp_path: Path) -> None:
    tasks = {
        "both": {"cluster": ["one", "two"]},
        "second": {"cluster": "two"},
        "mixed": {"cluster": ["two", "three"]},
        "third": {"cluster": "three"},
    }
    certificate = hold_out(make(tmp_path, tasks), ["one"])
    assert why(certificate) == {"both": ["held_out"], "second": ["shared_cluster"], "mixed": ["shared_cluster"]}
    assert texts(certificate, "second") == ["shares the cluster two with the held-out both"]
    assert certificate.trained_on == ("third",)  # it shares nothing with a task that is tested


@pytest.mark.parametrize(("held", "left"), [("one", "b"), ("two", "a")])
def test_exclusions_hold_in_both_directions(held: str, left: str, tmp_path: Path) -> None:
    tasks = {"a": {"cluster": "one"}, "b": {"cluster": "two"}, "c": {"cluster": "three"}}
    certificate = hold_out(make(tmp_path, tasks, [["one", "two"]]), [held])
    assert why(certificate)[left] == ["excluded"]
    assert texts(certificate, left) == [
        f"belongs to {'two' if held == 'one' else 'one'}, declared excluded with {held}"
    ]
    assert certificate.trained_on == ("c",)


def test_exclusions_hold_for_every_cluster_of_a_held_out_task(tmp_path: Path) -> None:
    tasks = {"a": {"cluster": ["one", "two"]}, "b": {"cluster": "three"}, "c": {"cluster": "four"}}
    certificate = hold_out(make(tmp_path, tasks, [["three", "two"]]), ["one"])
    assert texts(certificate, "b") == ["belongs to three, declared excluded with two"]
    assert certificate.trained_on == ("c",)


def test_shared_sources_are_left_out(tmp_path: Path) -> None:
    tasks = {
        "a": {"cluster": "one", "sources": ["News", "SQuAD"], "origin": "same"},
        "b": {"cluster": "two", "sources": ["squad", "Blogs"], "origin": "other"},
        "c": {"cluster": "two", "sources": ["Blogs"], "origin": "same"},
        "d": {"cluster": "two", "origin": "same"},
    }
    certificate = hold_out(make(tmp_path, tasks), ["one"])
    assert texts(certificate, "b") == ["texts from squad, as in the held-out a"]
    assert certificate.trained_on == ("c", "d")  # where sources are declared, the place of download tells nothing


def test_origins_stand_for_sources_where_none_are_declared(tmp_path: Path) -> None:
    tasks = {
        "a": {"cluster": "one", "origin": "same"},
        "b": {"cluster": "two", "origin": "same"},
        "c": {"cluster": "two", "origin": "other"},
        "d": {"cluster": "two"},
    }
    certificate = hold_out(make(tmp_path, tasks), ["one"])
    assert texts(certificate, "b") == ["the same origin, same, as in the held-out a"]
    assert certificate.trained_on == ("c", "d")


def test_a_task_without_training_rows_is_for_evaluation_only(tmp_path: Path) -> None:
    tasks = {"a": {"cluster": "one"}, "b": {"cluster": "two", "rows": {"test": ["x y"]}}, "c": {"cluster": "two"}}
    certificate = hold_out(make(tmp_path, tasks), ["one"])
    assert why(certificate) == {"a": ["held_out"], "b": ["no_training_rows"]}


def overlapping(folder: Path) -> Suite:
    near = LONG.replace("old", "cold")
    tasks = {
        "a": {"cluster": "one", "rows": {"train": ["a row to learn"], "dev": ["a row"], "test": ["other words", LONG]}},
        "b": {"cluster": "two", "rows": {"train": ["fine", LONG.upper(), "a row to learn", near], "test": [LONG]}},
        "c": {"cluster": "three", "rows": {"train": ["quite different", "A row!"]}},
    }
    return make(folder, tasks)


def test_training_rows_like_held_out_rows_are_taken_out(tmp_path: Path) -> None:
    certificate = hold_out(overlapping(tmp_path), ["one"])
    assert [(o.task, o.row, o.held_out_task, o.held_out_split, o.held_out_row) for o in certificate.overlaps] == [
        ("b", 1, "a", "test", 1),
        ("b", 3, "a", "test", 1),
        ("c", 1, "a", "dev", 0),
    ]
    assert [o.exact for o in certificate.overlaps] == [1.0, pytest.approx(9 / 15), 1.0]
    assert all(abs(o.exact - o.estimated) < 0.2 for o in certificate.overlaps)
    assert (certificate.dropped("b"), certificate.dropped("c")) == ((1, 3), (1,))
    with pytest.raises(UserError, match="unknown training task 'a'"):
        certificate.dropped("a")


def test_the_threshold_is_that_of_the_caller(tmp_path: Path) -> None:
    certificate = hold_out(overlapping(tmp_path), ["one"], Nearness(threshold=0.9))
    assert certificate.dropped("b") == (1,)
    assert certificate.nearness.threshold == 0.9


def test_options_of_a_row_count_and_fixed_ones_do_not(tmp_path: Path) -> None:
    output = {"kind": "choice", "field": "reply", "choices_field": "options"}
    tasks = {name: {"cluster": name, "output": output, "metric": "accuracy"} for name in ("a", "b")}
    make(tmp_path, tasks)
    ask = {"text": "which one is it", "reply": 0}
    for name, options in (("a", ["red wine", "white wine"]), ("b", ["a big dog", "a small cat"])):
        for split in ("train", "test"):
            (tmp_path / name / f"{split}.jsonl").write_text(json.dumps(ask | {"options": options}) + "\n")
    assert hold_out(load_suite(tmp_path), ["a"]).dropped("b") == ()
    for name in tasks:
        card = yaml.safe_load((tmp_path / name / "task.yaml").read_text())
        card["output"] = {"kind": "choice", "field": "reply", "choices": ["yes", "no"]}
        (tmp_path / name / "task.yaml").write_text(yaml.safe_dump(card))
    assert hold_out(load_suite(tmp_path), ["a"]).dropped("b") == (0,)


def test_what_cannot_be_held_out_is_refused(tmp_path: Path) -> None:
    suite = make(tmp_path, {"a": {"cluster": "one"}, "b": {"cluster": "two"}}, [["one", "two"]])
    with pytest.raises(UserError, match="suite made: unknown cluster 'tow'; did you mean 'two'"):
        hold_out(suite, ["tow"])
    with pytest.raises(UserError, match="nothing is left to train on"):
        hold_out(suite, ["one"])
    with pytest.raises(UserError, match="no cluster is held out"):
        hold_out(suite, [])


def test_a_certificate_is_the_same_again_and_survives_its_file(tmp_path: Path) -> None:
    suite = overlapping(tmp_path)
    certificate = hold_out(suite, ["one"])
    certificate.write(tmp_path / "certificate.json")
    again = read_certificate(tmp_path / "certificate.json")
    assert again == certificate == hold_out(suite, ["one", "one"])
    assert verify(again, suite) == []


Change = Callable[[dict[str, Any]], object]
TAMPERED: list[tuple[Change, str]] = [
    (lambda c: c["trained_on"].append("a"), "training task a: stated, but not so"),
    (lambda c: c["trained_on"].remove("b"), "training task b: not stated, but so"),
    (lambda c: c["held_out"].clear(), "held-out task a: not stated, but so"),
    (lambda c: c["left_out"].clear(), "left-out task a: not stated, but so: belongs to the held-out cluster one"),
    (
        lambda c: c["left_out"][0]["reasons"][0].update(text="bored"),
        "left-out task a: stated is bored, but it is belongs",
    ),
    (lambda c: c["overlaps"].pop(0), "row 1 of b/train: not stated, but so: like row 1 of a/test, Jaccard 1"),
    (lambda c: c["overlaps"][1].update(exact=0.7), "row 3 of b/train: stated is like row 1 of a/test, Jaccard 0.7"),
    (lambda c: c["overlaps"][1].update(row=0), "row 0 of b/train: stated, but not so"),
    (lambda c: c["rows"][0].update(rows=7), "dev rows of a: stated is 7 with SHA-256"),
    (lambda c: c["nearness"].update(threshold=0.9), "row 3 of b/train: stated, but not so"),
    (lambda c: c["clusters"].append("three"), "held-out task c: not stated, but so"),
    (lambda c: c.update(clusters=["gone"]), "clusters: the suite has none called 'gone'"),
    (lambda c: c.update(suite="mine"), "suite: stated is mine, but it is made"),
    (lambda c: c.update(multigraft="9"), "seal: it does not fit"),
    (lambda c: c.update(seal="0" * 64), "seal: it does not fit"),
]


@pytest.mark.parametrize("resealed", [False, True])
@pytest.mark.parametrize(("change", "message"), TAMPERED)
def test_tampering_is_named(change: Change, message: str, resealed: bool, tmp_path: Path) -> None:
    """Whoever also makes the seal anew is found out by the data, where they bear on it."""
    suite = overlapping(tmp_path)
    values = hold_out(suite, ["one"]).model_dump(mode="json")
    change(values)
    changed = Certificate.model_validate(values)
    if resealed:
        changed = changed.model_copy(update={"seal": changed.digest()})
    found = verify(changed, suite)
    if not (resealed and message.startswith("seal")):
        assert any(message in line for line in found), found
    assert resealed != any(line.startswith("seal: it does not fit") for line in found)


def test_changed_data_and_changed_suites_are_named(tmp_path: Path) -> None:
    certificate = hold_out(overlapping(tmp_path), ["one"])
    with (tmp_path / "c" / "train.jsonl").open("a") as file:
        file.write(json.dumps({"text": "one more", "reply": "x"}) + "\n")
    (line,) = verify(certificate, load_suite(tmp_path))
    assert line.startswith("train rows of c: stated is 2 with SHA-256")
    card = yaml.safe_load((tmp_path / "b" / "task.yaml").read_text()) | {"cluster": "one"}
    (tmp_path / "b" / "task.yaml").write_text(yaml.safe_dump(card))
    found = verify(certificate, load_suite(tmp_path))
    assert "training task b: stated, but not so" in found
    assert "held-out task b: not stated, but so: held out" in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "certificate.json:1: not valid JSON"),
        ("[]", "expected named values"),
        ('{"format": 2}', "certificate.json: 'format'"),
        ('{"suit": "x"}', "unknown key 'suit'; did you mean 'suite'?"),
    ],
)
def test_a_file_that_is_no_certificate_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "certificate.json").write_text(text)
    with pytest.raises(UserError) as caught:
        read_certificate(tmp_path / "certificate.json")
    assert message in str(caught.value)


def test_flan_has_the_tasks_of_the_local_folder(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGRAFT_DATA", str(data_folder))
    suite, local = load_suite(Path(__file__).parents[3] / "recipes" / "flan"), load_suite(data_folder / "tasks")
    assert set(suite.tasks) == set(local.tasks)
    for name, task in suite.tasks.items():
        other = local.tasks[name]
        assert (task.cluster, task.inputs, task.output) == (other.cluster, other.inputs, other.output)
        assert (task.metric, task.split_names()) == (other.metric, other.split_names())
        assert task.sources
        assert task.description
        split = task.split_names()[-1]
        assert task.examples(split, 3) == other.examples(split, 3)


def test_holding_out_nli_names_what_it_leaves_out(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGRAFT_DATA", str(data_folder))
    suite = load_suite(Path(__file__).parents[3] / "recipes" / "flan")
    names = ["mnli", "rte", "cb", "qnli", "sick_e", "mrpc", "qqp", "sick_r", "stsb", "cola", "copa"]
    certificate = hold_out(suite.subset(names), ["nli"])
    assert texts(certificate, "qnli") == texts(certificate, "sick_e") == ["belongs to the held-out cluster nli"]
    assert texts(certificate, "mrpc") == ["belongs to paraphrase, declared excluded with nli"]
    assert texts(certificate, "qqp") == ["belongs to paraphrase, declared excluded with nli"]
    assert "texts from SICK, as in the held-out sick_e" in texts(certificate, "sick_r")
    assert why(certificate)["stsb"] == ["shared_source"]
    assert certificate.trained_on == ("cola", "copa")
