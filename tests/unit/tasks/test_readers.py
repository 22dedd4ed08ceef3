"""Every reader: rows come back as they were written, and what cannot be read is refused with its line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.errors import UserError
from multigraft.tasks.readers import READERS, hub, reader_for
from multigraft.tasks.readers.hub import HubSource

ROWS = [{"text": "plain", "label": "a"}, {"text": 'with "quotes", commas', "label": "ü ☃"}, {"text": "", "label": "b"}]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_tsv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join("\t".join(cells) + "\n" for cells in [list(rows[0]), *map(dict.values, rows)]), "utf-8")


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def write_json(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


WRITERS = {"json": write_json, "jsonl": write_jsonl, "csv": write_csv, "tsv": write_tsv, "parquet": write_parquet}


def read(path: Path) -> list[tuple[int, dict[str, Any]]]:
    return list(reader_for(path).rows(path))


def test_every_reader_is_tested() -> None:
    assert READERS.names() == sorted(WRITERS)


@pytest.mark.parametrize("name", READERS.names())
def test_rows_come_back_with_their_lines(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{name}"
    WRITERS[name](path, ROWS)
    assert [row for _, row in read(path)] == ROWS
    first = 1 if READERS.get(name).typed else 2  # under a header
    assert [line for line, _ in read(path)] == [first, first + 1, first + 2]


@pytest.mark.parametrize("name", READERS.names())
def test_a_missing_file_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read(tmp_path / f"none.{name}")


@pytest.mark.parametrize("name", READERS.names())
@given(data=st.binary(max_size=200) | st.text('{}[]",:\\ax\t\n\r\0é ', max_size=60).map(str.encode))
def test_any_bytes_are_rows_or_one_error_with_the_file(
    name: str, data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz.{name}"
    path.write_bytes(data)
    try:
        rows = read(path)
    except UserError as error:
        assert str(error).startswith(str(path))
        assert "\n" not in str(error)
    else:
        assert all(line >= 1 and isinstance(row, dict) for line, row in rows)


@given(
    position=st.integers(0, 10_000),
    byte=st.integers(0, 255),
    length=st.integers(0, 10_000),
)
def test_a_damaged_parquet_file_is_rows_or_an_error(
    position: int, byte: int, length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    write_parquet(path, ROWS)
    data = bytearray(path.read_bytes())
    data[position % len(data)] = byte
    path.write_bytes(data[: max(length, len(data) // 2)])
    try:
        read(path)
    except UserError as error:
        assert str(error).startswith(str(path))


BAD = [
    ("jsonl", b'{"a": 1}\n{"a": \n', 2, "not valid JSON"),
    ("jsonl", b'{"a": 1}\n\n{"a": 2}\n', 2, "empty row"),
    ("jsonl", b'{"a": 1}\n{"a": "\xff"}\n', 2, "not UTF-8 text"),
    ("jsonl", '{"a": 1}\n'.encode("utf-16"), 1, "not UTF-8 text"),
    ("jsonl", b'{"a": "x\x00y"}\n', 1, "not valid JSON"),
    ("jsonl", b'{"a": 1}\n[1, 2]\n', 2, "expected one JSON object per line, got list"),
    ("jsonl", b'{"a": 1, "a": 2}\n', 1, "key 'a' is given twice"),
    ("jsonl", b'{"a": {"b": 1, "b": 2}}\n', 1, "key 'b' is given twice"),
    ("jsonl", b'{"a": NaN}\n', 1, "NaN is not a number"),
    ("jsonl", b'{"a": ' + b"[" * 100_000 + b"\n", 1, "nested too deeply"),
    ("jsonl", b'{"a": ' + b"1" * 5000 + b"}\n", 1, "integer"),
    ("json", b'[{"a": 1}, 2]', 2, "expected an object in row 2, got int"),
    ("json", b'[{"a": 1},\n{"a":}]', 2, "not valid JSON"),
    ("csv", b"a,b\n1,2\n3\n", 3, "1 cells under 2 column names"),
    ("csv", b"a,b\n1,2,3\n", 2, "3 cells under 2 column names"),
    ("csv", b"a,b\n1,2\n\n3,4\n", 3, "empty row"),
    ("csv", b'a,b\n"1\n1",2\n3\n', 4, "1 cells under 2 column names"),
    ("csv", b'a,b\n1,"2\n3,4\n', 2, "not valid CSV"),
    ("csv", b'a,b\n1,"2"x\n', 2, "not valid CSV"),
    ("csv", b"a,b\n1,\xff\n", 2, "not UTF-8 text"),
    ("csv", b"a,b\n1,x\x00\n", 2, "NUL byte"),
    ("csv", b"a,a\n1,2\n", 1, "column 'a' is given twice"),
    ("csv", b"a,\n1,2\n", 1, "must name every column"),
    ("csv", b"", 1, "must name every column"),
    ("tsv", b"a\tb\n1\n", 2, "1 cells under 2 column names"),
    ("tsv", b"a\tb\n1\t2\r3\n", 3, "1 cells under 2 column names"),
]


@pytest.mark.parametrize(("name", "data", "line", "message"), BAD)
def test_what_cannot_be_read_is_refused_with_its_line(
    name: str, data: bytes, line: int, message: str, tmp_path: Path
) -> None:
    path = tmp_path / f"bad.{name}"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)


def test_a_report_that_returns_sees_every_fault_and_the_good_rows_still_come(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{\n{"a": 2}\n\xff\n{"a": 3}\n')
    faults: list[UserError] = []
    rows = list(reader_for(path).rows(path, faults.append))
    assert [row["a"] for _, row in rows] == [1, 2, 3]
    assert [fault.where for fault in faults] == [f"{path}:2", f"{path}:4"]


def test_tsv_takes_quotes_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text('a\tb\n"open\tx\n', encoding="utf-8")
    assert read(path) == [(2, {"a": '"open', "b": "x"})]


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    for name, text in (("jsonl", '{"a": "1"}\n'), ("csv", "a\n1\n")):
        path = tmp_path / f"rows.{name}"
        path.write_text(text, encoding="utf-8-sig")
        assert [row for _, row in read(path)] == [{"a": "1"}]


def test_a_parquet_column_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays([pyarrow.array([1]), pyarrow.array([2])], ["a", "a"]), path)
    with pytest.raises(UserError, match="given twice"):
        read(path)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(UserError, match="unknown format 'jsnl'; did you mean 'jsonl'"):
        reader_for(Path("rows.jsnl"))


HUB = HubSource(
    hub="someone/set", config="c", splits={"train": "train"}, columns={"text": "sentence"}, labels=("no", "yes")
)


def test_hub_rows_get_the_tasks_names_and_options() -> None:
    data = [{"sentence": "one", "label": 1}, {"sentence": "two", "label": 0}]
    rows = list(hub.rows(HUB, "train", "label", data))
    assert rows[0] == (1, {"sentence": "one", "text": "one", "label": "yes"})
    assert rows[1][1]["label"] == "no"


def test_hub_numbers_are_scaled() -> None:
    source = HubSource(hub="someone/set", splits={"train": "train"}, columns={"score": "label"}, scale=5.0)
    assert next(hub.rows(source, "train", "score", [{"label": 0.5}])) == (1, {"label": 0.5, "score": 2.5})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"sentence": "one", "label": -1}, "label -1 is outside the 2 labels"),
        ({"text": "one"}, "column 'sentence' is missing"),
    ],
)
def test_a_bad_hub_row_is_refused_with_its_number(row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        list(hub.rows(HUB, "train", "label", [{"sentence": "good", "label": 1}, row]))
    assert str(caught.value).startswith(f"hub:someone/set/c/train:2: {message}")


def test_a_hub_data_set_is_loaded_with_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    write_jsonl(tmp_path / "set" / "train.jsonl", [{"sentence": "one", "label": 1}])
    source = HUB.model_copy(update={"hub": str(tmp_path / "set"), "config": None})
    rows = list(hub.rows(source, "train", "label", hub.load(source, "train")))
    assert rows == [(1, {"sentence": "one", "text": "one", "label": "yes"})]


def test_an_unreachable_hub_is_one_line_and_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    calls = []

    def fail(*arguments: Any, **options: Any) -> None:
        calls.append(arguments)
        raise ConnectionError("no route to the hub\nand more")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    monkeypatch.setattr(hub, "_unreachable", {})
    for _ in range(2):
        with pytest.raises(UserError) as caught:
            hub.load(HUB, "train")
        assert str(caught.value) == "hub:someone/set/c/train: cannot be loaded from the hub: no route to the hub"
    assert calls == [("someone/set", "c")]
