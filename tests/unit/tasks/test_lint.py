"""The linter: each fault gets its rule, and good templates get none."""

from __future__ import annotations

from typing import Any

import pytest

from multigraft.settings import build
from multigraft.tasks.lint import Finding, lint, lint_all
from multigraft.tasks.outputs import Example
from multigraft.tasks.task import Task
from multigraft.tasks.template import Template
from multigraft.tasks.template_readers import Entry

CHOICE: dict[str, Any] = {"kind": "choice", "field": "label", "choices": ["bad", "good"]}
TEXT: dict[str, Any] = {"kind": "text", "field": "summary"}
ROWS = [
    Example(("The soup was cold.", "soup"), ("bad", "good"), 0),
    Example(("Lovely bread.", "bread"), ("bad", "good"), 1),
]
TEXT_ROWS = [Example(("Rain in the north.", "news"), (), "wet"), Example(("Sun in the south.", "news"), (), "dry")]


def make(output: dict[str, Any] = CHOICE) -> Task:
    metric = {"choice": "accuracy", "number": "pearson", "text": "exact_match"}[output["kind"]]
    base = {"name": "meals", "cluster": "c", "inputs": ["remark", "dish"], "output": output, "metric": metric}
    return build(Task, base | {"splits": {"train": "train.jsonl"}}, "task.yaml")


def template(**values: Any) -> Template:
    return Template(**({"name": "a", "input": "{{ dish }}: {{ remark }} {{ options_list }}"} | values))


def rules(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.severity, finding.rule) for finding in findings]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"input": "Of {{ dish }}: {{ remark }} Good or bad?"},
        {"input": "{{ input_fields | join(' ') }}", "choices": ("awful", "fine")},
        {"input": "Write a {{ answer }} remark on {{ dish }}.", "target": "{{ remark }}", "inverted": True},
        {"input": "{{ dish }} {{ remark }}", "target": "The {{ dish }} was {{ answer }}.", "inverted": True},
        {"input": "{{ dish }}: {{ remark }}\n"},
    ],
)
def test_good_templates_have_no_findings(values: dict[str, Any]) -> None:
    assert lint(template(**values), make(), ROWS) == []


@pytest.mark.parametrize(
    ("values", "finding"),
    [
        ({"input": "{{ dish }} {{ remark"}, ("error", "syntax")),
        ({"input": "{{ dish }} {{ remark.__class__ }}"}, ("error", "unsafe")),
        ({"input": "{{ dish }} {{ remark | shuffle }}"}, ("error", "random")),
        ({"input": "{{ dish }} {{ remark | uper }}"}, ("error", "unknown")),
        ({"input": "{{ dish }} {{ remarks }}"}, ("error", "missing field")),
        ({"input": "{{ dish }} {{ remark }} {{ answer }}"}, ("error", "leak")),
        ({"input": " "}, ("error", "empty")),
        ({"input": "{% if dish == 'soup' %}{{ remark }}{% endif %}"}, ("error", "empty")),
        ({"input": "{{ dish }} {{ remark }} Say that it is good."}, ("warning", "leak")),
        ({"choices": ("bad", "bad")}, ("error", "options")),
        ({"choices": ("bad", "so so", "good")}, ("error", "options")),
        ({"choices": ("bad", " ")}, ("error", "options")),
        ({"target": "It is so."}, ("error", "options")),
        ({"target": "{{ answer[-1] }}", "choices": ("bad", "glad")}, ("error", "options")),
        ({"input": "{{ dish }}", "target": "{{ remark }}"}, ("error", "inverted")),
        ({"inverted": True}, ("warning", "inverted")),
        ({"input": "{{ remark }}"}, ("warning", "unused")),
        ({"input": "{{ dish }} {{ remark }}\\nIs it good or bad?"}, ("warning", "escape")),
        ({"input": "{{ dish }} {{ remark }} Good &amp; bad?"}, ("warning", "escape")),
        ({"input": "{{ dish }} {remark} {{ remark }} good bad"}, ("warning", "escape")),
        ({"input": "{{ dish }} {{ remark }} It\u00e2\u20ac\u2122s good or bad?"}, ("warning", "escape")),
        ({"choices": ("b\\n", "g")}, ("warning", "escape")),
        ({"input": "{{ dish }}: {{ remark }} "}, ("warning", "border")),
        ({"target": " {{ answer }}"}, ("warning", "border")),
        ({"input": "{{ dish.split()[1] }}: {{ remark }}"}, ("error", "fails")),
    ],
)
def test_each_fault_has_its_rule(values: dict[str, Any], finding: tuple[str, str]) -> None:
    assert finding in rules(lint(template(**values), make(), ROWS))


def test_the_target_of_an_inverted_template_may_not_stand_in_its_input() -> None:
    turned = {"inverted": True, "target": "{{ remark }}"}
    copying = template(input="{{ answer }} {{ dish }} {{ remark.upper() }}", **turned)
    assert rules(lint(copying, make(), ROWS)) == [("error", "leak")]
    asking = template(input="{{ answer }} {{ dish }}", **turned)
    assert lint(asking, make(), [Example(("Good soup.", "It was good soup."), ("bad", "good"), 1)]) == []


def test_texts_leak_where_most_of_them_stand_in_the_input() -> None:
    asked = template(input="{{ dish }} {{ remark }} Is it wet or dry?")
    assert rules(lint(asked, make(TEXT), TEXT_ROWS)) == [("error", "leak")]
    assert lint(template(input="{{ dish }} {{ remark }} Wet?"), make(TEXT), TEXT_ROWS) == []
    spans = [Example(("Rain in the north.", "news"), (), "Rain"), Example(("Sun.", "news"), (), "Sun")]
    assert lint(template(input="{{ dish }} {{ remark }}"), make(TEXT), spans) == []


def test_the_ends_of_a_scale_are_no_leak() -> None:
    number = make({"kind": "number", "field": "score", "range": [0, 5]})
    rows = [Example(row.inputs, (), score) for row, score in zip(ROWS, (5.0, 2.0), strict=True)]
    assert lint(template(input="{{ dish }} {{ remark }} From 0 to 5:"), number, rows) == []
    assert rules(lint(template(input="{{ dish }} {{ remark }} Is it a 5?"), number, rows)) == [("warning", "leak")]


def test_a_list_of_options_needs_options() -> None:
    assert rules(lint(template(), make(TEXT), TEXT_ROWS)) == [("warning", "options")]


def test_without_a_task_names_are_not_known() -> None:
    foreign = template(input="{{ any_field }}", target="{{ answer_choices[label] }}")
    assert lint(foreign, None) == []
    assert rules(lint(template(input="{{ x | choice }}", target=""), None)) == [("error", "random"), ("error", "empty")]


def entries(*templates: Template) -> list[Entry]:
    return [Entry(one, f"templates.yaml:{number}") for number, one in enumerate(templates)]


def test_templates_that_read_the_same_are_found() -> None:
    pair = entries(template(), template(name="b", input="{{ dish ~ ':' }}  {{ remark }}\n{{ options_list }}"))
    assert [rules(found) for found in lint_all(pair, make(), ROWS)] == [[], [("warning", "duplicate")]]
    worded = entries(template(), template(name="b", choices=("awful", "fine")))
    assert [rules(found) for found in lint_all(worded, make(), ROWS)] == [[], []]
    foreign = entries(template(input="{{ a }}\nSo?"), template(name="b", input="{{ a }} so?"))
    assert [rules(found) for found in lint_all(foreign, None)] == [[], [("warning", "duplicate")]]


def test_at_most_three_templates_are_inverted() -> None:
    turned = [
        template(name=str(n), input=f"{n} {{{{ answer }}}} {{{{ dish }}}}", target="{{ remark }}", inverted=True)
        for n in range(5)
    ]
    found = [rules(one) for one in lint_all(entries(template(), *turned), make(), ROWS)]
    assert found == [[], [], [], [], [("warning", "inverted")], [("warning", "inverted")]]
    assert [rules(one) for one in lint_all(entries(*turned[:2]), make(), ROWS)] == [[("error", "inverted")], []]
    assert lint_all([], make(), ROWS) == []


def test_options_made_up_by_a_pattern_are_checked_too() -> None:
    (found,) = lint_all([Entry(template(), "a.yaml:1", answers="{{ options | choice }}")], None)
    assert rules(found) == [("error", "random")]
