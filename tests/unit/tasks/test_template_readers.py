"""Readers of templates: what they make of a file, and that any bytes give entries or errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from multigraft.errors import UserError
from multigraft.tasks.jinja import compile_pattern
from multigraft.tasks.template import Template
from multigraft.tasks.template_readers import TEMPLATE_READERS, Entry, template_reader_for

OURS = "# Ours\ntemplates:\n  - name: a\n    input: '{{ text }}'\n  - name: b\n    input: '{{ title }}'\n"
PROMPTS = """
dataset: films
templates:
  1f3a-aa: !Template
    answer_choices: bad ||| good
    id: 1f3a-aa
    jinja: "How was {{ title }}?\\n\\n|||\\n\\n{{ answer_choices[label] }}"
    metadata: !TemplateMetadata
      choices_in_prompt: false
      languages: [en]
      metrics: [Accuracy]
      original_task: true
    name: how
    reference: ''
  2b4c-bb: !Template
    answer_choices: "{{ actors | join('|||') }}"
    id: 2b4c-bb
    jinja: '{% if label == 1 %}{% set x = title %}Name a film like {{ x }}. ||| {{ other }}{% endif %}'
    metadata: !TemplateMetadata
      original_task: false
    name: another
    reference: ''
"""


def read(path: Path, text: str) -> tuple[list[Entry], list[UserError]]:
    path.write_text(text, encoding="utf-8")
    faults: list[UserError] = []
    return list(template_reader_for(path).entries(path, faults.append)), faults


def test_our_own_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "templates.yaml"
    expected = [
        Entry(Template(name="a", input="{{ text }}"), f"{path}:3"),
        Entry(Template(name="b", input="{{ title }}"), f"{path}:5"),
    ]
    assert read(path, OURS) == (expected, [])
    assert template_reader_for(path).name == "multigraft"


def test_templates_of_promptsource_become_ours(tmp_path: Path) -> None:
    path = tmp_path / "templates.yaml"
    (how, another), faults = read(path, PROMPTS)
    assert faults == []
    assert how == Entry(
        Template(
            name="how", input="How was {{ title }}?", target="{{ answer_choices[label] }}", choices=("bad", "good")
        ),
        f"{path}:4",
    )
    assert another.template.inverted
    assert another.answers == "{{ actors | join('|||') }}"


def test_a_condition_around_both_parts_holds_for_each(tmp_path: Path) -> None:
    (_, another), _ = read(tmp_path / "templates.yaml", PROMPTS)
    source, target = compile_pattern(another.template.input), compile_pattern(another.template.target)
    values = {"label": 1, "title": "Jaws", "other": "Orca"}
    assert (source.render(values), target.render(values)) == ("Name a film like Jaws.", "Orca")
    assert (source.render(values | {"label": 0}), target.render(values | {"label": 0})) == ("", "")


def test_what_the_input_sets_is_set_for_the_target(tmp_path: Path) -> None:
    jinja = "{% set x = title %}Say {{ x }}. ||| {% if 1 > 2 %}never{% else %}{{ x }}!{% endif %}"
    text = yaml.safe_dump({"dataset": "d", "templates": {"k": {"name": "a", "jinja": jinja}}})
    (entry,), _ = read(tmp_path / "a.yaml", text)
    assert compile_pattern(entry.template.target).render({"title": "Jaws"}) == "Jaws!"


def test_a_target_belongs_to_its_branch_only(tmp_path: Path) -> None:
    jinja = "{% if a %}{% if b %}x{% endif %}One{% else %}Two ||| {{ c }}{% endif %}"
    text = yaml.safe_dump({"dataset": "d", "templates": {"k": {"name": "a", "jinja": jinja}}})
    (entry,), _ = read(tmp_path / "a.yaml", text)
    rendered = [compile_pattern(entry.template.target).render({"a": a, "c": "C"}) for a in (0, 1)]
    assert rendered == ["C", ""]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: how", "nome: how", ":4: unknown key 'nome'; did you mean 'name'?"),
        ("    name: how\n", "", ":4: 'name' is missing"),
        ("|||\\n", "||| a |||\\n", ":4: template 'how': has 3 parts"),
        ("original_task: true", "original_task: [1", "not valid YAML"),
        ("2b4c-bb: !Template", "1f3a-aa: !Template", "key '1f3a-aa' is given twice"),
        ("!TemplateMetadata", "!!python/object:os.system", "could not determine a constructor"),
        ("templates:", "other:", "not a file of promptsource"),
    ],
)
def test_faults_have_a_place(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in PROMPTS
    path = tmp_path / "templates.yaml"
    try:
        _, (fault,) = read(path, PROMPTS.replace(old, new, 1))
    except UserError as error:
        fault = error
    assert str(fault).startswith(str(path))
    assert message in str(fault)


def test_a_template_without_a_target_has_an_empty_one(tmp_path: Path) -> None:
    (entry, _), _ = read(tmp_path / "a.yaml", PROMPTS.replace("|||\\n\\n{{ answer_choices[label] }}", ""))
    assert entry.template.target == ""


LINES = st.sampled_from(
    [*OURS.splitlines(), *PROMPTS.splitlines(), "- x", "templates: [1]", "name: 3", "}", "\t", "<<: *a"]
)
TEXTS = st.text() | st.lists(LINES, max_size=12).map("\n".join)


@pytest.mark.parametrize("name", TEMPLATE_READERS.names())
def test_any_file_gives_entries_or_errors(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("any") / "templates.yaml"
    reader = TEMPLATE_READERS.get(name)()

    @given(TEXTS)
    def check(text: str) -> None:
        path.write_text(text, encoding="utf-8", errors="replace")
        faults: list[UserError] = []
        try:
            entries = list(reader.entries(path, faults.append))
        except UserError as error:
            faults.append(error)
        else:
            assert all(entry.where.startswith(f"{path}:") for entry in entries)
        assert all(str(fault).startswith(str(path)) for fault in faults)

    check()
