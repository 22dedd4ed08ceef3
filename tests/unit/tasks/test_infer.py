"""A suite from plain tables: what is inferred, what is refused, and that no file's contents end in a traceback."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.errors import UserError
from multigraft.tasks.division import likeness
from multigraft.tasks.infer import infer_suite, is_plain_folder, write_suite
from multigraft.tasks.inspect import inspect_task
from multigraft.tasks.suite import load_suite
from multigraft.tasks.table_task import Inferred
from multigraft.tasks.tables import SPLITS

Row = dict[str, Any]
FOODS = ["soup", "bread", "fish", "rice", "salad", "pasta", "tea", "coffee", "cake", "melon"]
FINE, FOUL = ("fresh", "warm", "sweet"), ("stale", "cold", "bitter")


def meals(count: int = 60, **more: Any) -> list[Row]:
    """Remarks on meals, each once, with a mood; `more` gives columns as functions of the row's number."""
    draw = random.Random(0)
    rows = []
    for number in range(count):
        word = draw.choice(FINE + FOUL)
        row = {
            "text": f"{draw.choice(FOODS)} at table {number} was {word}",
            "mood": "happy" if word in FINE else "cross",
        }
        rows.append(row | {name: make(number) for name, make in more.items()})
    return rows


def write(path: Path, rows: Sequence[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()})
    return path


def infer(folder: Path, rows: Sequence[Row], name: str = "meals.jsonl", **asked: Sequence[str]) -> Inferred:
    write(folder / name, rows)
    (one,) = infer_suite(folder, **asked)
    return one


def renamed(rows: Sequence[Row], **names: str) -> list[Row]:
    return [{names.get(key, key): value for key, value in row.items()} for row in rows]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_what_says_nothing_is_left_out_and_named(suffix: str, tmp_path: Path) -> None:
    rows = meals(
        row_id=lambda n: n,
        code=lambda n: f"x{n:03}",
        link=lambda n: f"https://example.org/{n}",
        when=lambda n: f"2024-05-{n % 28 + 1:02}",
        always=lambda n: "en",
        price=lambda n: n / 7,
        nothing=lambda n: "",
        rationale=lambda n: f"because of what was said of table {n}",
    )
    one = infer(tmp_path, rows, f"meals.{suffix}")
    assert one.task.inputs == ("text",)
    assert one.task.output.model_dump() == {
        "kind": "choice", "field": "mood", "choices": ("cross", "happy"), "choices_field": None,
    }  # fmt: skip
    assert (one.task.metric, one.task.cluster) == ("accuracy", "labels")
    assert one.left_out == {
        "row_id": "identifiers",
        "code": "identifiers",
        "link": "addresses",
        "when": "dates",
        "always": "always the same",
        "price": "numbers",
        "nothing": "empty",
        "rationale": "explains the answer",
    }
    assert {split: len(part) for split, part in one.rows.items()} == {"train": 42, "validation": 6, "test": 12}
    assert one.cut == ("validation", "test")
    assert [doubt for doubt in one.doubts if "values alone" in doubt] == [
        "meals: 'mood' is taken as the answer by its values alone: --label meals:COLUMN"
    ]


def say(number: int) -> str:
    return f"what was said at table {number}"


# Columns, and what is to come out: inputs, answer, kind, metric, cluster.
SHAPES: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    "pair with a number": (
        {"first": say, "second": lambda n: f"{say(n)} again", "similarity": lambda n: n % 31 / 6},
        (("first", "second"), "similarity", "number", "spearman", "numbers of several texts"),
    ),
    "an exact name goes before values": (
        {"text": say, "stars": lambda n: n % 5 + 1, "store": lambda n: "NSEW"[n % 4]},
        (("text",), "stars", "choice", "accuracy", "labels"),
    ),
    "a name of several words": (
        {"reviewText": say, "is_spam": lambda n: n % 3 == 0, "city": lambda n: "NS"[n % 2]},
        (("reviewText",), "is_spam", "choice", "accuracy", "labels"),
    ),
    "words go before their numbers": (
        {"text": say, "label": lambda n: n % 2, "label_text": lambda n: ["no", "yes"][n % 2]},
        (("text",), "label_text", "choice", "accuracy", "labels"),
    ),
    "an answer that is graded": (
        {"question": say, "answer": lambda n: f"{say(n)} is right", "grade": lambda n: n % 3},
        (("question", "answer"), "grade", "choice", "accuracy", "labels of several texts"),
    ),
    "an input with few values": (
        {"question": lambda n: ["who", "why"][n % 2], "passage": say, "label": lambda n: "ab"[n % 2 == n % 3]},
        (("question", "passage"), "label", "choice", "accuracy", "labels of several texts"),
    ),
    "long answers": (
        {"document": say, "summary": lambda n: f"in short it was {say(n)}"},
        (("document",), "summary", "text", "rougeL", "texts"),
    ),
    "answers of some words": (
        {"question": say, "answer": lambda n: f"of table {n}"},
        (("question",), "answer", "text", "token_f1", "texts"),
    ),
    "amounts without a scale": (
        {"question": say, "answer": lambda n: 10 ** (n % 15) + n},
        (("question",), "answer", "text", "exact_match", "texts"),
    ),
    "several accepted answers": (
        {"question": say, "answers": lambda n: [f"table {n}", f"the table {n}"]},
        (("question",), "answers", "text", "exact_match", "texts"),
    ),
    "names": (
        {"name": lambda n: f"{'bcdfgklmnp'[n % 10]}a{'bcdfgk'[n // 10]}o", "origin": lambda n: "NS"[n % 2]},
        (("name",), "origin", "choice", "accuracy", "labels"),
    ),
    "columns without telling names": (
        {"v1": lambda n: "ham" if n % 3 else "spam", "v2": say},
        (("v2",), "v1", "choice", "accuracy", "labels"),
    ),
    "texts without telling names": (
        {"v1": say, "v2": lambda n: f"no, {say(n)}"},
        (("v1",), "v2", "text", "rougeL", "texts"),
    ),
}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape: str, suffix: str, tmp_path: Path) -> None:
    columns, expected = SHAPES[shape]
    rows = [{name: make(number) for name, make in columns.items()} for number in range(60)]
    one = infer(tmp_path, rows, f"meals.{suffix}")
    task = one.task
    assert (task.inputs, task.output.field, task.output.kind, task.metric, task.cluster) == expected
    read = load_suite(write_suite([one], tmp_path / "suite")).tasks["meals"]
    assert sum(len(read.examples(split)) for split in SPLITS) == 60


def test_sentences_that_repeat_themselves_are_read_where_nothing_else_is(tmp_path: Path) -> None:
    rows = [
        {"one": f"the {food} is here", "other": f"I {verb} it now" if verb else "I do not", "goes": "ny"[bool(verb)]}
        for food in FOODS
        for verb in ("eat", "", "like", "")
    ]
    one = infer(tmp_path, rows)
    assert one.task.inputs == ("one", "other")
    assert one.task.output.field == "goes"


def test_the_answer_is_what_the_texts_tell(tmp_path: Path) -> None:
    rows = meals(90, till=lambda n: "abc"[n % 3])
    one = infer(tmp_path, rows)
    assert one.task.output.field == "mood"
    assert one.left_out == {"till": "few different values"}
    assert one.doubts == (
        "meals: 'mood' is taken as the answer by its values alone; 'till' could be it too: --label meals:till",
    )


@pytest.mark.parametrize(
    "answer", [lambda n: n % 3, lambda n: n % 3 + 1, lambda n: "ABC"[n % 3], lambda n: f"{FOODS[n % 3]} {n}"]
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_options_of_each_row(answer: Any, suffix: str, tmp_path: Path) -> None:
    columns = {"question": say, "choices": lambda n: [f"{food} {n}" for food in FOODS[:3]], "answer": answer}
    rows = [{name: make(number) for name, make in columns.items()} for number in range(30)]
    one = infer(tmp_path, rows, f"meals.{suffix}")
    task = load_suite(write_suite([one], tmp_path / "suite")).tasks["meals"]
    assert task.output.model_dump(exclude_none=True) == {
        "kind": "choice",
        "field": "answer",
        "choices_field": "choices",
    }
    examples = [example for split in SPLITS for example in task.examples(split)]
    assert {(e.inputs[0].rpartition(" ")[2], e.choices[int(e.target)]) for e in examples} == {
        (str(n), f"{FOODS[n % 3]} {n}") for n in range(30)
    }


def test_numbers_that_are_options_stay_numbers_in_the_rows(tmp_path: Path) -> None:
    rows = [{"text": say(n), "label": float(n % 2)} for n in range(40)]
    one = infer(tmp_path, rows, "meals.csv")
    assert one.task.output.model_dump()["choices"] == ("0", "1")
    assert {row["label"] for row in one.rows["train"]} == {0, 1}
    assert any("say under 'choices' in meals/task.yaml, in order, what they mean" in doubt for doubt in one.doubts)


def test_rows_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    rows = meals(40)
    rows += [rows[0], {"text": "no mood", "mood": None}, {"text": "", "mood": "happy"}, {"text": "n/a", "mood": " "}]
    rows += [{"text": "half \ud800", "mood": "happy"}, {"text": "none \0", "mood": "happy"}]
    one = infer(tmp_path, rows)
    assert (one.unlabelled, one.duplicates) == (2, 1)
    assert one.unusable == (
        f"{tmp_path}/meals.jsonl:43: no text in 'text'",
        f"{tmp_path}/meals.jsonl:45: field 'text' holds half a surrogate pair, which is not text",
        f"{tmp_path}/meals.jsonl:46: field 'text' holds a NUL character",
    )
    assert sum(map(len, one.rows.values())) == 41


def test_an_unbalanced_task_is_named(tmp_path: Path) -> None:
    one = infer(tmp_path, [{"text": say(n), "label": "ham" if n % 10 else "spam"} for n in range(60)])
    (doubt,) = one.doubts
    assert doubt == "meals: 'ham' is 90% of the answers: metric macro_f1 in meals/task.yaml would count all alike"


def test_files_of_splits_stay_what_they_are(tmp_path: Path) -> None:
    rows = meals(60)
    write(tmp_path / "meals_test.csv", rows[:12])
    one = infer(tmp_path, rows[10:], "meals_train.csv")
    assert one.cut == ("validation",)
    assert one.rows["test"] == rows[:12]
    assert [len(one.rows[split]) for split in ("train", "validation")] == [45, 5]
    assert "meals: 2 rows of test stand in train too" in one.doubts


@pytest.mark.parametrize("hide", [lambda row: {"text": row["text"]}, lambda row: row | {"mood": -1}])
def test_a_test_file_without_answers_is_left_out(hide: Any, tmp_path: Path) -> None:
    rows = meals(60)
    write(tmp_path / "meals_test.jsonl", [hide(row) for row in rows[:20]])
    one = infer(tmp_path, rows[20:], "meals_train.jsonl")
    assert one.cut == ("validation", "test")
    assert sum(map(len, one.rows.values())) == 40
    assert "meals: meals_test.jsonl is left out: no row has an answer as in train" in one.doubts


def test_columns_can_be_said(tmp_path: Path) -> None:
    write(tmp_path / "plain.jsonl", renamed(meals(40), mood="till"))
    rows = meals(40, till=lambda n: "ab"[n % 2], note=lambda n: f"see page {n} there")
    write(tmp_path / "meals.jsonl", rows)
    found = {one.task.name: one for one in infer_suite(tmp_path, text=["meals:note"], label=["till"])}
    assert (found["meals"].task.inputs, found["meals"].task.output.field) == (("note",), "till")
    assert found["meals"].left_out == {"text": "not named", "mood": "not named"}
    assert found["meals"].doubts == ()
    assert (found["plain"].task.inputs, found["plain"].task.output.field) == (("text",), "till")
    both = {one.task.name: one for one in infer_suite(tmp_path, text=["text", "meals:note"], label=["meals:mood"])}
    assert (both["meals"].task.inputs, both["meals"].task.output.field) == (("note",), "mood")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"label": ["mod"]}, "--label mod: unknown column 'mod'; did you mean 'mood'?"),
        ({"text": ["meals:txt"]}, "--text meals:txt: unknown column 'txt'; did you mean 'text'?"),
        ({"label": ["mood", "meals:mood", "text"]}, ""),
        ({"label": ["mood", "text"]}, "--label: two columns for the answer of meals: mood, text; name one"),
        ({"label": ["same"]}, "meals.jsonl: column 'same' holds 'x' in every row"),
        ({"label": ["nested"]}, "meals.jsonl: column 'nested' is nested and can be no answer"),
        ({"label": ["mood"], "text": ["mood"]}, "field 'mood' is used twice"),
    ],
)
def test_wrong_columns_are_one_line(asked: dict[str, list[str]], message: str, tmp_path: Path) -> None:
    rows = meals(40, same=lambda n: "x", nested=lambda n: {"a": n})
    if not message:
        assert infer(tmp_path, rows, **asked).task.output.field == "mood"
        return
    with pytest.raises(UserError) as caught:
        infer(tmp_path, rows, **asked)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "meals.jsonl: no rows; fill it"),
        (meals(9), "9 different rows with text and mood; 10 are the least"),
        (meals(3) * 20, "3 different rows"),
        (
            [{"text": say(n)} for n in range(30)],
            "no column looks like the answer; take the file out of the folder, or say which",
        ),
        (
            [{"text": say(n), "label": "x"} for n in range(30)],
            "column 'label' holds 'x' in every row; take the file out of the folder, or say which",
        ),
        (
            [{"label": n % 2, "id": n} for n in range(30)],
            "no column of texts; take the file out of the folder, or say which",
        ),
        ([{"text": say(n), "labels": list("abc"[n % 3 :])} for n in range(30)], "'labels' has several labels in a row"),
        ([{"text": say(n), "label": ""} for n in range(30)], "no column looks like the answer"),
        ([{"text": "", "label": "ab"[n % 2]} for n in range(30)], "no column of texts"),
    ],
)
def test_what_cannot_be_inferred_is_one_line(rows: list[Row], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        infer(tmp_path, rows)
    assert message in str(caught.value)


def test_folders_that_hold_no_tables(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent: not a folder"):
        infer_suite(tmp_path / "absent")
    with pytest.raises(UserError, match="no tables; put files of the formats csv, json, jsonl, parquet, tsv there"):
        infer_suite(tmp_path)
    assert not is_plain_folder(tmp_path)
    write(tmp_path / "meals.csv", meals(20))
    assert is_plain_folder(tmp_path)
    (tmp_path / "task.yaml").write_text("", encoding="utf-8")
    assert not is_plain_folder(tmp_path)
    with pytest.raises(UserError, match="is a suite as it is"):
        infer_suite(tmp_path)


def test_json_splits_are_told_from_natural_instructions(tmp_path: Path) -> None:
    (tmp_path / "meals").mkdir()
    (tmp_path / "meals" / "train.json").write_text(json.dumps(meals(20)), encoding="utf-8")
    assert is_plain_folder(tmp_path)
    assert infer_suite(tmp_path)[0].task.name == "meals"
    (tmp_path / "meals" / "train.json").write_text('{"Definition": "x"}', encoding="utf-8")
    assert not is_plain_folder(tmp_path)


def test_a_suite_is_replaced_only_when_asked(tmp_path: Path) -> None:
    one = infer(tmp_path, meals(40))
    suite = write_suite([one], tmp_path / "suite")
    assert sorted(str(path.relative_to(suite)) for path in suite.rglob("*") if path.is_file()) == [
        "meals/task.yaml", "meals/test.jsonl", "meals/train.jsonl", "meals/validation.jsonl", "suite.yaml",
    ]  # fmt: skip
    before = (suite / "meals" / "test.jsonl").read_bytes()
    with pytest.raises(UserError, match="exists; give --replace"):
        write_suite([one], suite)
    assert write_suite(infer_suite(tmp_path), suite, replace=True) == suite  # the suite is not taken for a table
    assert (suite / "meals" / "test.jsonl").read_bytes() == before
    with pytest.raises(UserError, match="exists and is no suite"):
        write_suite([one], tmp_path, replace=True)
    shutil.copy(suite / "suite.yaml", tmp_path)
    with pytest.raises(UserError, match=r"holds the table .*meals\.jsonl"):
        write_suite([one], tmp_path, replace=True)
    assert (tmp_path / "meals.jsonl").exists()


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = infer(tmp_path, meals(40))
    one.rows["test"].append({"text": float("nan")})  # json refuses it
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_suite([one], tmp_path / "suite")
    assert [path.name for path in tmp_path.iterdir()] == ["meals.jsonl"]


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from("abc"), st.booleans()), min_size=40, max_size=90))
def test_splits_are_disjoint_complete_and_the_same_again(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, str, bool]]
) -> None:
    rows = [{"text": say(n).upper() if loud else say(n), "label": label} for n, label, loud in drawn]
    folder = tmp_path_factory.mktemp("folder")
    try:
        one = infer(folder, rows)
    except UserError:
        return  # too few different rows, or labels
    assert sorted(map(str, (row for part in one.rows.values() for row in part))) == sorted(map(str, rows))
    texts = [{likeness([row["text"]]) for row in part} for part in one.rows.values()]
    assert sum(map(len, texts)) == len(set[str]().union(*texts))
    assert {row["label"] for row in one.rows["train"]} == {row["label"] for row in rows}
    assert infer_suite(folder)[0].rows == one.rows


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers()
PLAIN = st.none() | st.booleans() | NUMBERS | st.text(max_size=12) | st.sampled_from("abc")
SORTS = [
    st.sampled_from(["a", "b", " b", "Ü", "\ud800", "\0"]),
    st.sampled_from(["no", "yes", None]),
    st.integers(-1, 3),
    NUMBERS,
    st.text(max_size=30),
    st.lists(st.sampled_from("abcd") | st.integers(0, 2), max_size=4),
    PLAIN | st.lists(PLAIN, max_size=4) | st.dictionaries(st.text(max_size=3), PLAIN, max_size=2),
]
COLUMNS = ["label", "choices", "answer", "id", "split", "score", "x", "", "\ud800"]


@st.composite
def tables(draw: st.DrawFn) -> str:
    """JSON lines whose columns hold values of one sort each, beside texts that differ."""
    rows: list[Row] = [{"text": f"{say(row)}, {draw(st.text(max_size=3))}"} for row in range(draw(st.integers(0, 30)))]
    for name in draw(st.lists(st.sampled_from(COLUMNS), max_size=4, unique=True)):
        values = draw(st.lists(draw(st.sampled_from(SORTS)), min_size=1, max_size=30))
        for number, row in enumerate(rows):
            row[name] = values[number % len(values)]
    return "".join(json.dumps(row) + "\n" for row in rows)


def check_ends_well(folder: Path, asked: dict[str, list[str]]) -> None:
    """What comes out is a suite whose rows can all be used, or one line."""
    try:
        inferred = infer_suite(folder, **asked)
        suite = load_suite(write_suite(inferred, folder / "suite"))
    except UserError as error:
        assert "\n" not in str(error).strip()
        return
    for task in suite.tasks.values():
        assert inspect_task(task).bad_rows == 0


@given(tables(), st.sampled_from([{}, {}, {"label": ["label"]}, {"text": ["text"]}, {"label": ["x"], "text": ["id"]}]))
def test_any_rows_end_well(tmp_path_factory: pytest.TempPathFactory, text: str, asked: dict[str, list[str]]) -> None:
    folder = tmp_path_factory.mktemp("folder")
    (folder / "a.jsonl").write_text(text, encoding="utf-8")
    check_ends_well(folder, asked)


CELLS = st.sampled_from([*"abc01,;|\t\n\r\"'[]{}\\:. ", "\ufeff", "\0", "ü", "train", "text", "label", "yes", "\n"])


@given(
    st.lists(CELLS, max_size=120).map("".join).map(str.encode) | st.binary(max_size=80),
    st.sampled_from(["csv", "tsv", "json", "jsonl", "parquet"]),
)
def test_any_bytes_end_well(tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str) -> None:
    folder = tmp_path_factory.mktemp("folder")
    (folder / f"a.{suffix}").write_bytes(data)
    check_ends_well(folder, {})


def test_real_tasks_without_their_descriptions(data_folder: Path, tmp_path: Path) -> None:
    index = json.loads((data_folder / "tasks" / "index.json").read_text(encoding="utf-8"))
    for name in ("mnli", "stsb", "copa", "wic", "ag_news", "gsm8k", "samsum_ni", "dream"):
        lines = (data_folder / "tasks" / name / "validation.jsonl").read_text(encoding="utf-8").splitlines()[:150]
        write(tmp_path / f"{name}.csv", [json.loads(line) for line in lines])
    found = {one.task.name: one.task for one in infer_suite(tmp_path)}
    for name, task in found.items():
        output = index[name]["output"]
        assert task.output.model_dump(include={"kind", "field"}).items() <= output.items()
        assert {*task.inputs, output.get("choices_field")} - {None} == {*index[name]["inputs"]}
