"""Templates: how examples read in their words, what a file of them must say, and who gets which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.errors import UserError
from multigraft.settings import build
from multigraft.tasks.outputs import Example
from multigraft.tasks.task import Task
from multigraft.tasks.template import (
    NO_TEMPLATE,
    TASK_NAME,
    Template,
    assign,
    choose_templates,
    load_templates,
    number_words,
    render,
)

CHOICE: dict[str, Any] = {"kind": "choice", "field": "label", "choices": ["entailment", "other"]}
EXAMPLE = Example(("A dog sleeps.", "An animal rests."), ("entailment", "other"), 0)


def make(output: dict[str, Any] = CHOICE, inputs: tuple[str, ...] = ("premise", "hypothesis"), **more: Any) -> Task:
    metric = {"choice": "accuracy", "number": "pearson", "text": "exact_match"}[output["kind"]]
    base = {"name": "nli", "cluster": "c", "inputs": inputs, "output": output, "metric": metric}
    return build(Task, base | {"splits": {"train": "train.jsonl"}} | more, "task.yaml")


def test_options_read_as_in_flan() -> None:
    template = Template(
        name="follows",
        input="{{ premise }}\nDoes it follow that {{ hypothesis }}\n\n{{ options_list }}",
        choices=("yes", "no"),
    )
    rendered = render(template, make(), EXAMPLE)
    assert rendered.input == (
        "A dog sleeps.\nDoes it follow that An animal rests.\n\nOPTIONS:\n- yes\n- no"
    )  # FLAN, figure 3
    assert (rendered.target, rendered.options, rendered.template) == ("yes", ("yes", "no"), "follows")
    without = render(template, make(), EXAMPLE, options=False)
    assert without.input == "A dog sleeps.\nDoes it follow that An animal rests."
    assert (without.target, without.options) == (rendered.target, rendered.options)


def test_fixed_options_stand_for_themselves_without_words() -> None:
    rendered = render(Template(name="a", input="{{ premise }} {{ options | join(' or ') }}?"), make(), EXAMPLE)
    assert rendered.input == "A dog sleeps. entailment or other?"
    assert (rendered.target, rendered.options) == ("entailment", ("entailment", "other"))


def test_options_of_the_row_and_a_worded_target() -> None:
    task = make({"kind": "choice", "field": "label", "choices_field": "choices"}, ("question",))
    template = Template(name="a", input="{{ question }}\n{{ options_list }}", target="It is {{ answer }}.")
    rendered = render(template, task, Example(("Who?",), (" me", "you ", "they"), 1))
    assert rendered.target == "It is you ."
    assert rendered.options == ("It is  me.", "It is you .", "It is they.")
    assert rendered.input.startswith("Who?\nOPTIONS:\n-  me")


def test_a_target_may_use_the_fields_beside_the_answer() -> None:
    rendered = render(Template(name="a", input="x", target="{{ premise[:5] }}: {{ answer }}"), make(), EXAMPLE)
    assert rendered.options == ("A dog: entailment", "A dog: other")
    assert rendered.target == rendered.options[0]


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ((0, 5), "0 1 2 3 4 5"),
        ((1, 3), "1 2 3"),
        ((0.5, 3.5), "1 2 3"),
        ((0, 1), "0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1"),
        ((0, 100), "0 10 20 30 40 50 60 70 80 90 100"),
    ],
)
def test_numbers_have_words(bounds: tuple[float, float], words: str) -> None:
    assert number_words(*bounds) == tuple(words.split())


@pytest.mark.parametrize(("value", "word"), [(0.0, "0"), (4.4, "4"), (4.6, "5"), (5.0, "5")])
def test_the_nearest_number_is_the_answer(value: float, word: str) -> None:
    task = make({"kind": "number", "field": "score", "range": [0, 5]})
    rendered = render(Template(name="a", input="{{ premise }}"), task, Example(EXAMPLE.inputs, (), value))
    assert rendered.target == word
    assert rendered.options == ("0", "1", "2", "3", "4", "5")


def test_a_text_has_no_options() -> None:
    task = make({"kind": "text", "field": "summary"}, ("text",))
    rendered = render(
        Template(name="a", input="Sum up: {{ text }}\n{{ options_list }}"), task, Example(("Long.",), (), " Short. ")
    )
    assert (rendered.input, rendered.target, rendered.options) == ("Sum up: Long.", "Short.", ())


def test_an_inverted_template_asks_for_an_input_field() -> None:
    template = Template(
        name="turned",
        input="Write what {{ answer }}: {{ premise }}",
        target="{{ hypothesis }}",
        choices=("follows from this", "does not follow"),
        inverted=True,
    )
    rendered = render(template, make(), EXAMPLE)
    assert rendered.input == "Write what follows from this: A dog sleeps."
    assert (rendered.target, rendered.options) == ("An animal rests.", ())


def test_built_in_templates_need_no_file() -> None:
    (bare,), (named,) = NO_TEMPLATE, TASK_NAME
    assert render(bare, make(), EXAMPLE).input == "A dog sleeps.\nAn animal rests."
    assert render(bare, make(), Example(("A dog sleeps.", " "), EXAMPLE.choices, 0)).input == "A dog sleeps."
    assert render(named, make(), EXAMPLE).input == "nli\nA dog sleeps.\nAn animal rests."
    assert render(named, make(), EXAMPLE).options == ("entailment", "other")


def test_an_input_field_may_be_called_answer() -> None:
    task = make(inputs=("question", "answer"))
    rendered = render(Template(name="a", input="{{ question }} {{ answer }}"), task, EXAMPLE)
    assert (rendered.input, rendered.target) == ("A dog sleeps. An animal rests.", "entailment")


def test_a_template_that_does_not_fit_is_one_error() -> None:
    with pytest.raises(UserError) as caught:
        render(Template(name="a", input="{{ premis }}"), make(), EXAMPLE)
    assert str(caught.value) == "task nli, template 'a': there is no field 'premis'; did you mean 'premise'?"
    with pytest.raises(UserError, match="3 choices for 2 options"):
        render(Template(name="a", input="x", choices=("a", "b", "c")), make(), EXAMPLE)


GOOD = """
templates:
  - name: does it follow
    input: |-
      {{ premise }} So {{ hypothesis }}?

      {{ options_list }}
    choices: ["yes", "no"]
  - name: write
    inverted: true
    input: "{{ answer }}: {{ premise }}"
    target: "{{ hypothesis }}"
"""


def at(folder: Path, text: str, **more: Any) -> Task:
    (folder / "templates.yaml").write_text(text, encoding="utf-8")
    return make(**more).at(folder)


def test_templates_are_read_beside_the_task(tmp_path: Path) -> None:
    assert load_templates(make().at(tmp_path)) == ()
    first, second = load_templates(at(tmp_path, GOOD))
    assert first.input == "{{ premise }} So {{ hypothesis }}?\n\n{{ options_list }}"
    assert (first.target, first.choices, first.inverted) == ("{{ answer }}", ("yes", "no"), False)
    assert (second.name, second.inverted) == ("write", True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("templates:", "template:", "templates.yaml: not a list of templates; write"),
        ("inverted: true", "invrted: true", ":9: unknown key 'invrted'; did you mean 'inverted'?"),
        ("name: write", "name: does it follow", ":9: two templates are called 'does it follow'"),
        ("{{ premise }} So", "{{ premise So", ":3: template 'does it follow', input, line 1: "),
        ("{{ premise }} So", "{{ premis }} So", ":3: template 'does it follow', input: there is no field 'premis'; "),
        ("{{ premise }} So", "{{ answer }} So", "input: the input gives the answer away; leave it out"),
        ("{{ premise }} So", "{{ premise.__class__ }} So", "input, line 1: reaches for Python internals"),
        ('["yes", "no"]', "[yes, no]", ":3: 'choices': option True is not text; put it in quotes"),
        ('["yes", "no"]', '["yes"]', "template 'does it follow', choices: 1 choices for 2 options"),
        ('["yes", "no"]', '["no", "no"]', "choices: 'no' stands for two options"),
        ('"{{ hypothesis }}"', '" "', ":9: template 'write': there is no target"),
        ('"{{ hypothesis }}"', "'{{ hypothesis'", ":9: template 'write', target, line 1: "),
        ('"{{ hypothesis }}"', "'", "not valid YAML"),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_line_with_its_place(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in GOOD
    with pytest.raises(UserError) as caught:
        load_templates(at(tmp_path, GOOD.replace(old, new)))
    assert str(caught.value).startswith(str(tmp_path / "templates.yaml"))
    assert message in str(caught.value)


def test_choices_are_for_fixed_options_only(tmp_path: Path) -> None:
    number = {"kind": "number", "field": "score", "range": [0, 5]}
    with pytest.raises(UserError, match="task nli has no fixed options to put in words"):
        load_templates(at(tmp_path, GOOD, output=number))


def test_a_field_and_a_variable_of_one_name_are_refused_where_they_clash(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'options' is both an input field of task nli and a variable"):
        load_templates(at(tmp_path, "templates: [{name: a, input: '{{ options }}'}]", inputs=("options",)))
    plain = "templates: [{name: a, input: '{{ answer }}'}]"
    assert load_templates(at(tmp_path, plain, inputs=("answer",)))
    with pytest.raises(UserError, match="'answer' is both an input field"):
        load_templates(at(tmp_path, plain.replace("name: a", "name: a, inverted: true"), inputs=("answer",)))


def test_templates_are_chosen_by_name(tmp_path: Path) -> None:
    task = at(tmp_path, GOOD)
    assert [t.name for t in choose_templates(task, "all")] == ["does it follow", "write"]
    assert [t.name for t in choose_templates(task, "write")] == ["write"]
    assert choose_templates(make(), "no template") == NO_TEMPLATE
    with pytest.raises(UserError, match="unknown template 'wirte'; did you mean 'write'"):
        choose_templates(task, "wirte")
    with pytest.raises(UserError, match="task nli: has no templates"):
        choose_templates(make().at(tmp_path / "elsewhere"), "all")


def several(count: int, inverted: int = 0) -> tuple[Template, ...]:
    return tuple(Template(name=str(i), input="{{ premise }}", inverted=i < inverted) for i in range(count))


@given(st.integers(1, 12), st.integers(0, 60), st.integers(0, 60), st.integers(0, 5))
def test_an_example_keeps_its_template_however_many_there_are(k: int, few: int, more: int, seed: int) -> None:
    chosen = assign(several(k), make(), few + more, seed, training=True)
    assert chosen.shape == (few + more,)
    assert np.array_equal(chosen[:few], assign(several(k), make(), few, seed, training=True))
    for start in range(0, few + more, k):
        block = chosen[start : start + k]
        assert len(set(block.tolist())) == len(block)


def test_assignment_goes_by_seed_and_task() -> None:
    base = assign(several(10), make(), 100, 0, training=True)
    assert not np.array_equal(base, assign(several(10), make(), 100, 1, training=True))
    assert not np.array_equal(base, assign(several(10), make(name="other"), 100, 0, training=True))


def test_inverted_templates_are_for_training_only() -> None:
    templates = several(4, inverted=2)
    assert set(assign(templates, make(), 40, 0, training=True).tolist()) == {0, 1, 2, 3}
    assert set(assign(templates, make(), 40, 0, training=False).tolist()) == {2, 3}
    with pytest.raises(UserError, match="every template is inverted"):
        assign(templates[:2], make(), 40, 0, training=False)
    with pytest.raises(UserError, match="there is no template"):
        assign((), make(), 40, 0, training=True)
