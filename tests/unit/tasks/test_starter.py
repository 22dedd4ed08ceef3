from __future__ import annotations

import hashlib
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from multigraft.errors import UserError
from multigraft.tasks import starter
from multigraft.tasks.starter.grammar import Draw, listed, plural, sentence
from multigraft.tasks.starter.source import Row
from multigraft.tasks.starter.words import words

# Of the rows of the suite. When a grammar or a word list is changed, so are the scores in docs/starter.md.
DIGEST = "7ea0164ec5ead0c39e82d12026f892fe6f4aa6ded71f3775bd33908b2819d678"

SPLITS = ("train", "validation", "test")
TASKS = {source.name: source for source in starter.sources()}


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, list[Row]]]:
    return {name: source.splits() for name, source in TASKS.items()}


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(folder.rglob("*.jsonl"), key=lambda file: file.relative_to(folder).as_posix()):
        total.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


def test_the_rows_are_the_same_everywhere(tmp_path: Path) -> None:
    starter.generate(tmp_path / "suite")
    assert digest(tmp_path / "suite") == DIGEST


def test_size_and_kinds() -> None:
    assert len(TASKS) >= 16
    assert len({source.cluster for source in TASKS.values()}) >= 8
    kinds = [source.output["kind"] for source in TASKS.values()]
    assert {kind: kinds.count(kind) >= 2 for kind in ("choice", "number", "text")} == dict.fromkeys(kinds, True)
    assert sum("choices_field" in source.output for source in TASKS.values()) >= 1
    assert {min(s.train for s in TASKS.values()), max(s.train for s in TASKS.values())} == {100, 20_000}


@pytest.mark.parametrize("name", TASKS)
def test_rows_fit_the_task_and_none_repeats(name: str, rows: dict[str, dict[str, list[Row]]]) -> None:
    source, output = TASKS[name], TASKS[name].output
    texts = []
    for split in SPLITS:
        assert len(rows[name][split]) == getattr(source, split) >= 100
        for row in rows[name][split]:
            texts.append(tuple(row[field] for field in source.inputs))
            answer, options = row[output["field"]], row.get(output.get("choices_field", ""), output.get("choices"))
            if options:
                assert answer in options
                assert len(set(options)) == len(options)
            elif output["kind"] == "number":
                assert output["range"][0] <= answer <= output["range"][1]
            else:
                assert answer.strip()
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("name", TASKS)
def test_no_trace_of_a_template_is_left(name: str, rows: dict[str, dict[str, list[Row]]]) -> None:
    for row in rows[name]["test"] + rows[name]["train"][:2000]:
        text = " ".join(str(row[field]) for field in TASKS[name].inputs)
        assert not re.search(r"[\[\]{}|]|a\(n\)|  |\s[.,?]|_(?!_)(?<!__)", text), text


@pytest.mark.parametrize("name", [name for name, source in TASKS.items() if source.output.get("choices")])
def test_labels_are_balanced(name: str, rows: dict[str, dict[str, list[Row]]]) -> None:
    field, choices = TASKS[name].output["field"], TASKS[name].output["choices"]
    answers = [row[field] for row in rows[name]["test"]]
    assert all(0.6 / len(choices) < answers.count(choice) / len(answers) < 1.4 / len(choices) for choice in choices)


def test_relations_hold_by_construction(rows: dict[str, dict[str, list[Row]]]) -> None:
    reviews, contrary, coin = (rows[name]["test"] for name in ("reviews", "contrary", "coin"))
    assert [row["review"] for row in reviews] == [row["review"] for row in contrary] == [row["review"] for row in coin]
    assert not any(a["verdict"] == b["verdict"] for a, b in zip(reviews, contrary, strict=True))
    heads = sum((a["verdict"] == "positive") == (b["side"] == "heads") for a, b in zip(reviews, coin, strict=True))
    assert 0.43 < heads / len(coin) < 0.57
    for small, large in (("app_feedback", "reviews"), ("house_rules", "entailment"), ("headlines", "articles")):
        assert TASKS[small].output == TASKS[large].output
        assert TASKS[small].cluster == TASKS[large].cluster


def test_evaluation_uses_words_that_training_does_not(rows: dict[str, dict[str, list[Row]]]) -> None:
    def vocabulary(split: str) -> set[str]:
        return {word for row in rows["reviews"][split] for word in re.findall(r"\w+", row["review"].lower())}

    assert {"superb", "appalling"} <= vocabulary("test") - vocabulary("train")


def test_loading_generates_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGRAFT_HOME", str(tmp_path / "home"))
    suite = starter.load()
    assert list(suite.tasks) == list(TASKS)
    example = suite.tasks["work"].examples("test")[0]
    assert len(example.choices) == 3
    assert example.target in range(3)
    monkeypatch.setattr(starter, "generate", lambda folder: pytest.fail("generated twice"))
    assert starter.load() == suite
    assert [path.name for path in (tmp_path / "home").iterdir()] == [suite.tasks["work"].folder.parent.name]


def _load(_: int) -> int:
    return len(starter.load().tasks)


def test_processes_may_load_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGRAFT_HOME", str(tmp_path))
    with ProcessPoolExecutor(3) as pool:
        assert list(pool.map(_load, range(3))) == [len(TASKS)] * 3
    (folder,) = tmp_path.iterdir()
    assert (folder / "suite.yaml").exists()


def test_failed_generation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError("disk full")

    monkeypatch.setenv("MULTIGRAFT_HOME", str(tmp_path))
    monkeypatch.setattr(starter, "generate", fail)
    with pytest.raises(UserError, match="disk full; set MULTIGRAFT_HOME"):
        starter.load()
    assert not list(tmp_path.iterdir())


def test_draws_follow_from_the_name() -> None:
    first, again, other = Draw("a"), Draw("a"), Draw("b")
    numbers = [first.whole(1, 1000) for _ in range(20)]
    assert numbers == [again.whole(1, 1000) for _ in range(20)] != [other.whole(1, 1000) for _ in range(20)]
    assert numbers[:3] == [273, 68, 600]


def test_templates() -> None:
    said = {Draw(str(n)).say("a(n) [old|[big|small] {what}] , yes . no", what=("owl", "cat")) for n in range(60)}
    assert said == {f"{start}, yes. No" for start in ("An old", "A big owl", "A big cat", "A small owl", "A small cat")}
    assert sorted(Draw("x").some("abc", 3)) == ["a", "b", "c"]


def test_word_helpers() -> None:
    assert words("red dark_blue | green").of(True) == ("red", "dark blue")
    assert words("red | green").of(False) == ("red", "green")
    assert [plural(word) for word in ("cat", "bus", "peach", "daisy", "day", "mango", "fisherman")] == [
        "cats",
        "buses",
        "peaches",
        "daisies",
        "days",
        "mangoes",
        "fishermen",
    ]
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert sentence("an  owl. is here ?") == "An owl. Is here?"
