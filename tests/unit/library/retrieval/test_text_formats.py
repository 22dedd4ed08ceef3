"""The text formats of the paper, and what a text by itself cannot give."""

from __future__ import annotations

import pytest

from multigraft.errors import UserError
from multigraft.library.retrieval.text_formats import FORMATS, key_text
from multigraft.tasks.outputs import Choice, Example, Number, Output, Text

FIXED = Choice(field="label", choices=("no", "yes"))
BY_ROW = Choice(field="label", choices_field="options")
PAIR = Example(("A cat\n sleeps.", "It is awake."), ("no", "yes"), 0)
FIELDS = ("premise", "hypothesis")


@pytest.mark.parametrize(
    ("parts", "field_names", "expected"),
    [
        ("instance", False, "A cat sleeps.\nIt is awake."),
        ("instance", True, "premise: A cat sleeps.\nhypothesis: It is awake."),
        ("labels", False, "no, yes"),
        ("labels", True, "labels: no, yes"),
        ("template", False, "no ||| yes"),
        ("instance+labels", False, "A cat sleeps.\nIt is awake.\nno, yes"),
        ("instance+template", True, "premise: A cat sleeps.\nhypothesis: It is awake.\ntemplate: no ||| yes"),
        ("labels+template", False, "no, yes\nno ||| yes"),
    ],
)
def test_every_format(parts: str, field_names: bool, expected: str) -> None:
    assert key_text(parts, field_names).render(PAIR, FIELDS, FIXED) == expected


def test_these_are_all_formats() -> None:
    single = {"instance", "labels", "template"}
    assert set(FORMATS) == single | {"instance+labels", "instance+template", "labels+template"}


@pytest.mark.parametrize(
    ("output", "choices", "labels", "template"),
    [
        (BY_ROW, ("red", "blue"), "red, blue", "{{ options }}"),
        (Number(field="score", range=(1, 5)), (), "a number from 1 to 5", "{{ score }}"),
        (Text(field="summary"), (), "a text", "{{ summary }}"),
    ],
)
def test_other_answers(output: Output, choices: tuple[str, ...], labels: str, template: str) -> None:
    example = Example(("x",), choices, 0)
    assert key_text("labels+template").render(example, ("text",), output) == f"{labels}\n{template}"


def test_empty_fields_are_left_out() -> None:
    assert key_text("instance", True).render(Example(("", "x"), (), 0), FIELDS) == "hypothesis: x"


def test_what_cannot_be_had() -> None:
    with pytest.raises(UserError, match=r"unknown text format 'instances'; did you mean 'instance'\?"):
        key_text("instances")
    with pytest.raises(UserError, match=r"'instance\+labels' needs the options of a task"):
        key_text("instance+labels").render(Example(("x",), (), ""), ("text",))
