"""Tables: which files belong together, and how a file is read that nobody has described."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from multigraft.errors import UserError
from multigraft.tasks.tables import find_files, number_in, read_table, read_tables


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("", encoding="utf-8")


def test_names_tell_tasks_and_splits(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv", "b_train.csv", "b-dev.jsonl", "B.TEST.tsv", "my text!.json", "notes.txt", ".hidden.csv")
    touch(tmp_path, "sub/train.csv", "sub/validation.csv", "sub/c_test.csv", "old/suite.yaml", "old/train.csv")
    touch(tmp_path, "train_d.csv", "test_d.csv", "감상.csv", "e-train-00000-of-00001.parquet", "contest.csv")
    found = {
        task: {split: str(path.relative_to(tmp_path)) for split, path in files.items()}
        for task, files in find_files(tmp_path).items()
    }
    odd = next(name for name in found if name.startswith("task_"))
    assert found.pop(odd) == {"train": "감상.csv"}
    assert found == {
        "a": {"train": "a.csv"},
        "b": {"train": "b_train.csv", "validation": "b-dev.jsonl"},
        "B": {"test": "B.TEST.tsv"},
        "my_text": {"train": "my text!.json"},
        "sub": {"train": "sub/train.csv", "validation": "sub/validation.csv"},
        "c": {"test": "sub/c_test.csv"},
        "d": {"train": "train_d.csv", "test": "test_d.csv"},
        "e": {"train": "e-train-00000-of-00001.parquet"},
        "contest": {"train": "contest.csv"},
    }


def test_two_files_of_one_split(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv", "a_train.jsonl")
    with pytest.raises(UserError, match=r"a_train\.jsonl: is the train split of a, and a\.csv is too; rename"):
        find_files(tmp_path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_from_the_rows(delimiter: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = [["", "text", "label"], ["0", '"well, a; b"', "x"], ["1", '"two\nlines"', "y"]]
    path.write_text("\r\n".join(delimiter.join(line) for line in lines), encoding="utf-8-sig", newline="")
    table = read_table(path)
    assert table.rows == [
        {"index": "0", "text": "well, a; b", "label": "x"},
        {"index": "1", "text": "two\nlines", "label": "y"},
    ]
    assert (table.lines, table.faults) == ([2, 3], ())


def test_lists_in_cells_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('options,other\n"[""x"", ""y""]",[1]\n"",no list\n', encoding="utf-8")
    assert [row["options"] for row in read_table(path).rows] == [["x", "y"], None]
    assert [row["other"] for row in read_table(path).rows] == ["[1]", "no list"]


def test_a_few_bad_rows_are_counted_and_many_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = [json.dumps({"text": str(row)}) for row in range(20)]
    path.write_text("\n".join([*good[:5], "{", *good[5:]]), encoding="utf-8")
    table = read_table(path)
    assert table.lines == [*range(1, 6), *range(7, 22)]
    assert len(table.faults) == 1
    assert "a.jsonl:6: not valid JSON" in table.faults[0]
    path.write_text("\n".join([*good, *["{"] * 3]), encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.jsonl:21: not valid JSON.*\(2 more rows of 23 cannot be used\)"):
        read_table(path)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("fine food,good", 'bad food,bad\nx,good\n"y",good', "a.csv:1: the first line looks like a row"),
        ("fine food,3.5", "bad food,1", "a.csv:1: the first line looks like a row"),
        ("word " * 30 + ",x", "bad food,1", "a.csv:1: the first line looks like a row"),
        ("text,text", "a,b", "column 'text' is given twice"),
        ("text,", "a,b", "the first line must name every column"),
        ('text,"a\nb"', "a,b", r"the name of column 'a\nb' is not plain text; rename it"),
        (",".join(f"c{n}" for n in range(1001)), ",".join("x" * 1001), "1,001 columns; at most 1,000"),
    ],
)
def test_the_first_line_has_to_name_the_columns(header: str, rows: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{header}\n{rows}\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_table(tmp_path / "a.csv")
    assert message in str(caught.value)


def test_numbered_columns_are_a_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("0,1\nx,y\n", encoding="utf-8")
    assert read_table(tmp_path / "a.csv").rows == [{"0": "x", "1": "y"}]


def test_another_encoding_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text,label\ngrün,a\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"a\.csv:2: not UTF-8 text; save the file as UTF-8"):
        read_table(tmp_path / "a.csv")


def test_a_column_may_name_the_split(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,split\na,train\nb,Test\nc,train\n", encoding="utf-8")
    tables = read_tables({"train": path})
    assert {split: [row["text"] for row in table.rows] for split, table in tables.items()} == {
        "train": ["a", "c"],
        "test": ["b"],
    }
    assert tables["test"].lines == [3]
    path.write_text("text,split\na,train\nb,\n", encoding="utf-8")
    assert list(read_tables({"train": path})) == ["train"]


def test_numbers() -> None:
    values = [1, 2.5, " 3 ", "-1e2", True, "1_0", "x", None, [1], 10**400, "1e999", float("inf")]
    assert [number_in(value) for value in values] == [1.0, 2.5, 3.0, -100.0, *[None] * 8]
