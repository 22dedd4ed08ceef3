"""Choices, numbers and texts: what they accept, and how they refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.errors import UserError
from multigraft.settings import build
from multigraft.tasks.outputs import Choice, Fault, Number, Text, text_in

FIXED = Choice(field="label", choices=("no", "yes", "unsure"))
BY_ROW = Choice(field="answer", choices_field="options")
NUMBER = Number(field="score", range=(0, 5))
TEXT = Text(field="target")


def test_a_fixed_choice_is_read_from_text_or_index() -> None:
    assert FIXED.read({"label": "yes"}) == (("no", "yes", "unsure"), 1, ())
    assert FIXED.read({"label": 2}) == (("no", "yes", "unsure"), 2, ())


def test_options_per_row_are_read_with_the_row() -> None:
    row = {"options": ["red", "green"], "answer": "green"}
    assert BY_ROW.read(row) == (("red", "green"), 1, ())
    assert BY_ROW.read(row | {"answer": 0}) == (("red", "green"), 0, ())


def test_numbers_and_texts_are_read() -> None:
    assert NUMBER.read({"score": 4}) == ((), 4.0, ())
    assert TEXT.read({"target": "a text"}) == ((), "a text", ())


def test_of_several_accepted_answers_the_first_is_the_target() -> None:
    assert TEXT.read({"target": ["two", "2", "two"]}) == ((), "two", ("two", "2"))
    assert TEXT.read({"target": ["two"]}) == ((), "two", ())
    row = {"options": ["red", "green", "blue"], "answer": ["blue", 0]}
    assert BY_ROW.read(row) == (("red", "green", "blue"), 2, ("blue", "red"))


@pytest.mark.parametrize(
    ("output", "row", "message"),
    [
        (FIXED, {"lable": "yes"}, "field 'label' is missing; did you mean 'lable'?"),
        (FIXED, {"label": "yess"}, "label 'yess' is not among the options; did you mean 'yes'?"),
        (FIXED, {"label": 3}, "label 3 is outside the 3 options"),
        (FIXED, {"label": -1}, "label -1 is outside the 3 options"),
        (FIXED, {"label": True}, "must be an option or its index, got True"),
        (FIXED, {"label": None}, "must be an option or its index, got None"),
        (FIXED, {"label": 1.0}, "must be an option or its index, got 1.0"),
        (Choice(field="label", choices=("1", "2", "3")), {"label": 1}, "both an option and the index of '2'"),
        (BY_ROW, {"options": "red", "answer": "red"}, "must be a list of at least two options"),
        (BY_ROW, {"options": ["red"], "answer": "red"}, "must be a list of at least two options"),
        (BY_ROW, {"options": ["red", " "], "answer": "red"}, "holds an empty option"),
        (BY_ROW, {"options": ["red", 2], "answer": "red"}, "must be text, got 2"),
        (BY_ROW, {"options": ["red", "green"], "answer": "blue"}, "is not among the options"),
        (NUMBER, {"score": "4"}, "must be a number, got '4'"),
        (NUMBER, {"score": True}, "must be a number, got True"),
        (NUMBER, {"score": 5.01}, "number 5.01 is outside the range 0 to 5"),
        (NUMBER, {"score": -1}, "number -1 is outside the range 0 to 5"),
        (NUMBER, {"score": float("nan")}, "is outside the range"),
        (TEXT, {"target": "  "}, "field 'target' is empty"),
        (TEXT, {"target": 3}, "must be text, got 3"),
        (TEXT, {"target": []}, "field 'target' is an empty list"),
        (TEXT, {"target": ["a", ""]}, "field 'target' is empty"),
        (TEXT, {"target": ["a", ["b"]]}, "must be text, got ['b']"),
        (FIXED, {"label": ["yes", "maybe"]}, "label 'maybe' is not among the options"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(output: Choice | Number | Text, row: dict, message: str) -> None:
    with pytest.raises(Fault) as caught:
        output.read(row)
    assert message in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [("a\0b", "NUL"), ("a\ud800b", "surrogate")])
def test_text_that_no_tokenizer_takes_is_refused(text: str, message: str) -> None:
    with pytest.raises(Fault, match=message):
        text_in({"text": text}, "text")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"field": "label"}, "either 'choices' or 'choices_field'"),
        ({"field": "label", "choices": ["a", "b"], "choices_field": "options"}, "either 'choices' or 'choices_field'"),
        ({"field": "label", "choices": ["a"]}, "at least two options"),
        ({"field": "label", "choices": ["a", " "]}, "none of them empty"),
        ({"field": "label", "choices": ["a", "a"]}, "the same option twice"),
        ({"field": "label", "choices": [False, True]}, "option False is not text; put it in quotes"),
    ],
)
def test_a_contradictory_choice_is_refused(data: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(Choice, data, "task.yaml")
    assert message in str(caught.value)


@pytest.mark.parametrize("interval", [(5, 0), (1, 1), (0, float("inf")), (float("nan"), 1)])
def test_a_range_is_two_finite_numbers_in_order(interval: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="finite numbers"):
        build(Number, {"field": "score", "range": interval}, "task.yaml")


def test_cells_become_values() -> None:
    assert NUMBER.from_cells({"score": "4.5"}) == {"score": 4.5}
    assert NUMBER.from_cells({"score": "high"}) == {"score": "high"}
    assert FIXED.from_cells({"label": "2"}) == {"label": 2}
    assert Choice(field="label", choices=("1", "2")).from_cells({"label": "1"}) == {"label": "1"}
    assert BY_ROW.from_cells({"options": '["a", "b"]', "answer": "1"}) == {"options": ["a", "b"], "answer": 1}
    with pytest.raises(Fault, match="must be a JSON list"):
        BY_ROW.from_cells({"options": "a|b", "answer": "a"})


@given(st.dictionaries(st.text(), st.text()), st.sampled_from([FIXED, BY_ROW, NUMBER, TEXT]), st.text(), st.text())
def test_cells_of_any_text_are_an_answer_or_a_fault(
    row: dict[str, str], output: Choice | Number | Text, answer: str, options: str
) -> None:
    try:
        choices, target, _ = output.read(output.from_cells({**row, output.field: answer, "options": options}))
    except Fault:
        return
    assert choices == () or 0 <= int(target) < len(choices)
