from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.errors import UserError
from multigraft.settings import Record, build, parse_yaml, read_text, read_yaml


class Inner(Record):
    width: int


class Outer(Record):
    name: str
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()


def fault(data: object) -> str:
    with pytest.raises(UserError) as caught:
        build(Outer, data, "r.yaml")
    return str(caught.value)


def test_builds_nested_records() -> None:
    outer = build(Outer, {"name": "a", "inner": {"width": 3}, "many": [{"width": 1}]}, "r.yaml")
    assert outer == Outer(name="a", inner=Inner(width=3), many=(Inner(width=1),))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1], "r.yaml: expected named values, got list"),
        ({}, "r.yaml: 'name' is missing; add it"),
        ({"nmae": "a"}, "r.yaml: unknown key 'nmae'; did you mean 'name'?"),
        ({"name": "a", "inner": {"widht": 3}}, "r.yaml: unknown key 'inner.widht'; did you mean 'width'?"),
        ({"name": "a", "many": [{"width": 1, "wdth": 3}]}, "r.yaml: unknown key 'many.0.wdth'; did you mean 'width'?"),
    ],
)
def test_first_fault_is_one_line(data: object, message: str) -> None:
    assert fault(data) == message


def test_wrong_type_names_the_key() -> None:
    assert fault({"name": "a", "inner": {"width": "wide"}}).startswith("r.yaml: 'inner.width': ")


def test_yaml_reads_exponents_as_numbers() -> None:
    assert parse_yaml("[5e-5, 1E3, -2.5e+1, 3.e2, 1.5, 7]", "r") == [5e-5, 1e3, -25.0, 300.0, 1.5, 7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "r.yaml:3: not valid YAML: key 'a' is given twice"),
        ("a: 1\nb: [1\n", "r.yaml:3: not valid YAML"),
        ("{[]: 1}", "r.yaml:1: not valid YAML"),
        ("!!python/object:os.system {}", "r.yaml:1: not valid YAML"),
        ("2001-99-99", "r.yaml: not valid YAML"),
        ("!!int", "r.yaml: not valid YAML"),
        ("!!bool maybe", "r.yaml: not valid YAML"),
        ("!!timestamp soon", "r.yaml: not valid YAML"),
        ("[" * 2000, "r.yaml: not valid YAML"),
        ("9" * 5000, "r.yaml: not valid YAML"),
    ],
)
def test_bad_yaml_is_one_line_with_its_place(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_yaml(text, "r.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


SNIPPETS = st.sampled_from(
    [*":-?,[]{}#&*!|>'\"%@`\n\t ~<=", "a", "1", "0x", "0b", "1:60", "!!int ", "!!binary ", "!!set ", "- ", ": ", "<<: "]
)


@given(st.one_of(st.text(), st.lists(SNIPPETS, max_size=12).map("".join)))
def test_any_text_gives_a_value_or_a_user_error(text: str) -> None:
    try:
        value = parse_yaml(text, "r.yaml")
    except UserError:
        return
    try:
        build(Outer, value, "r.yaml")
    except UserError as error:
        assert str(error).startswith("r.yaml: ")


@given(st.binary(max_size=40))
def test_any_bytes_are_text_or_a_user_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "file.yaml"
    path.write_bytes(content)
    try:
        read_yaml(path)
    except UserError as error:
        assert str(error).startswith(str(path))


def test_wrong_encoding_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("a: 1\nb: café\n".encode("latin-1"))
    with pytest.raises(UserError) as caught:
        read_text(path)
    assert str(caught.value) == f"{path}:2: not UTF-8 text; save the file as UTF-8"


def test_missing_file_and_byte_order_mark(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_text(tmp_path / "none")
    marked = tmp_path / "marked.yaml"
    marked.write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_yaml(marked) == {"a": 1}
