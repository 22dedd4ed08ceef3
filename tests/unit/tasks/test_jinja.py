"""Patterns: what they can say, and that none of them reaches out, hangs or grows."""

from __future__ import annotations

import string
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import Environment

from multigraft.tasks.jinja import LONGEST, Pattern, PatternError, compile_pattern
from multigraft.tasks.jinja_operations import BUDGET

VALUES: dict[str, Any] = {
    "premise": "A dog sleeps. It snores.",
    "empty": "",
    "options": ["yes", "no", "perhaps"],
    "number": 3,
    "long": "x" * 100_000,
    "nested": {"text": ["a", "b"], "label": ["A", "B"]},
}


@pytest.mark.parametrize(
    "source",
    [
        "plain text",
        "{{ premise }} and {{ number }}",
        "{{ options | join(', ') }}",
        "{{ ', '.join(options) }} {{ options[0] }} {{ options[-1] }} {{ options[1:] | join }}",
        "{% for o in options %}{{ loop.index }}. {{ o }}{% if not loop.last %}; {% endif %}{% endfor %}",
        "{% for a, b in zip(nested.text, nested['label']) %}{{ a ~ b }}{% else %}none{% endfor %}",
        "{% for i in range(number) if i != 1 %}{{ i * 2 + 1 }} {% endfor %}",
        "{% if number > 2 and 'dog' in premise %}yes{% elif empty %}no{% else %}?{% endif %}",
        "{{ 'long' if premise | length > 10 else 'short' }}",
        "{% set words = premise.split() %}{{ words | first | lower }} {{ (words | last).upper() }}",
        "{{ premise.replace('dog', 'cat') | replace('It', 'She') }}",
        "{{ ((5 * number) | round) / 5 }} {{ -number }} {{ '7' | int + 1 }} {{ 7 // 2 }} {{ 7 % 2 }}",
        "{{ options.index('no') }} {{ premise.startswith('A') }} {{ number is number }} {{ empty is none }}",
        "{% raw %}{{ as it is }}{% endraw %}{# not shown #} {{- premise }}\n",
    ],
)
def test_patterns_read_as_in_jinja(source: str) -> None:
    plain = Environment()
    plain.globals["zip"] = zip
    assert compile_pattern(source).render(VALUES) == plain.from_string(source).render(VALUES)


DOUBLING = "{% set x = 'ab' %}" + "{% set x = x ~ x %}" * 60 + "{{ x }}"
DOUBLING_LISTS = "{% set x = [1] %}" + "{% set x = [x, x] %}" * 60 + "{{ x | length }}"
NESTED_LOOPS = "{% for a in range(999) %}" * 6 + "{{ number }}" + "{% endfor %}" * 6
SQUARES = "{% set n = 9 %}" + "{% set n = n * n %}" * 60 + "{{ n }}"
UNSAFE = [
    ("{{ premise.__class__ }}", "unsafe", "reaches for Python internals: '__class__'"),
    ("{{ premise['__class__'] }}", "unsafe", "reaches for Python internals"),
    ("{{ premise | attr('__class__') }}", "unknown", "unknown filter 'attr'"),
    ("{{ premise['__cla' ~ 'ss__'] }}", "fails", "a text has no '__class__'"),
    ("{{ premise.mro() }}", "unknown", "unknown method 'mro'"),
    ("{{ '{0.__class__}'.format(premise) }}", "unknown", "unknown method 'format'"),
    ("{{ self }}", "unsafe", "the name 'self'"),
    ("{{ cycler.__init__.__globals__ }}", "unsafe", "internals"),
    ("{{ lipsum() }}", "unknown", "unknown function 'lipsum'; known: range, zip"),
    ("{{ premise()() }}", "unsafe", "calls something else"),
    ("{{ options.append('x') }}", "unsafe", "changes a value in place"),
    ("{% import 'os' as os %}", "unsafe", "the construct 'import'"),
    ("{% include 'secret' %}", "unsafe", "the construct 'include'"),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "unsafe", "the construct 'macro'"),
    ("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "unsafe", "recursive loop"),
    ("{{ 9 ** 99999999 }}", "unsafe", "the construct 'pow'"),
    ("{{ range(1000000000) | join }}", "unsafe", "a range of 1,000,000,000 numbers"),
    ("{% for i in range(1000000000) %}{% endfor %}", "unsafe", "a range of"),
    (NESTED_LOOPS, "unsafe", "takes too long"),
    ("{% for a in long %}{% for b in long %}{% endfor %}{% endfor %}", "unsafe", "takes too long"),
    (DOUBLING, "unsafe", "takes too long or makes too much text"),
    (DOUBLING_LISTS, "unsafe", "takes too long or makes too much text"),
    (SQUARES, "unsafe", "a number beyond"),
    ("{{ 9" + "9" * 20 + " }}", "unsafe", "a number beyond"),
    ("{{ 'x' * 1000000000 }}", "fails", "calculates with a text and a number"),
    ("{{ options * 1000000000 }}", "fails", "calculates with a list and a number"),
    ("{{ '%1000000000d' % 1 }}", "fails", "calculates with a text and a number"),
    ("{{ '%1000000000d' is odd }}", "unknown", "unknown test 'odd'"),
    ("{{ 'x' | center(1000000000) }}", "unknown", "unknown filter 'center'"),
    ("{{ 1 | round(-1000000000) }}", "fails", "only numbers are rounded"),
    ("{{ long.replace('x', long) }}", "unsafe", "too much text"),
    ("{{ long | replace('', long) }}", "unsafe", "too much text"),
    ("{{ long.join(long) }}", "unsafe", "too much text"),
    ("{{ " + "(" * 4000 + "1" + ")" * 4000 + " }}", "unsafe", "too complicated"),
    ("{{ 1" + "+1" * 4000 + " }}", "unsafe", "nested too deeply"),
    ("{% if number %}" * 200 + "{% endif %}" * 200, "unsafe", "nested too deeply|too complicated"),
    (
        "{% for i in options %}" * 30 + "{% endfor %}" * 30,
        "unsafe",
        "too complicated: too many statically nested blocks",
    ),
    ("x" * (LONGEST + 1), "unsafe", "longer than"),
]


@pytest.mark.parametrize(("source", "rule", "message"), UNSAFE, ids=[source[:30] for source, _, _ in UNSAFE])
def test_what_is_not_safe_is_refused(source: str, rule: str, message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(PatternError, match=message) as caught:
            Pattern(source).render(VALUES)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    assert caught.value.rule == rule


@pytest.mark.parametrize(
    ("source", "rule", "message"),
    [
        ("{{ premis }}", "missing field", "there is no field 'premis'; did you mean 'premise'?"),
        ("{% if false %}{{ colour }}{% endif %}", "missing field", "there is no field 'colour'"),
        ("{{ loop.index }}", "missing field", "there is no field 'loop'"),
        ("{{ nested.lable }}", "fails", "there is no item 'lable'; did you mean 'label'?"),
        ("{{ options[3] }}", "fails", "there is no item 3; the items are counted from 0 to 2"),
        ("{{ options }}", "fails", "a list is not text; join it"),
        ("{{ 1 if number > 9 }}", "fails", "an undefined value is not text"),
        ("{{ 1 / 0 }}", "fails", "division by zero"),
        ("{{ premise + number }}", "fails", "calculates with a text and a number"),
        ("{{ premise | uper }}", "unknown", "unknown filter 'uper'; did you mean 'upper'?"),
        ("{{ options | choice }}", "random", "draws at random with 'choice'"),
        ("one\n{{ two", "syntax", "^line 2: "),
        ("{% if %}", "syntax", "line 1"),
        ("{% unheard %}", "syntax", "unheard"),
    ],
)
def test_faults_say_what_is_wrong(source: str, rule: str, message: str) -> None:
    with pytest.raises(PatternError, match=message) as caught:
        Pattern(source).render(VALUES)
    assert caught.value.rule == rule
    assert str(caught.value.at("a.yaml:3")).startswith("a.yaml:3")


def test_nothing_runs_when_a_field_is_missing() -> None:
    with pytest.raises(PatternError, match="there is no field 'gone'"):
        Pattern("{{ 1 / 0 }}{{ gone }}").render(VALUES)


def test_a_pattern_knows_its_names_and_constant_texts() -> None:
    pattern = Pattern("Say {{ 'no' }}: {% set a = premise %}{{ a }}{% for b in options %}{{ b }}{% endfor %}")
    assert pattern.names == {"premise", "options"}
    assert sorted(pattern.texts) == [": ", "Say ", "no"]
    assert Pattern("{% if number %}{% set a = 1 %}{{ a }}{% endif %}").names == {"number"}
    assert not pattern.blank
    assert Pattern("{% if number %}\n{% endif %} ").blank


def test_long_texts_are_no_fault() -> None:
    assert len(Pattern("{{ long }} {{ long.upper() }}").render(VALUES)) == 200_001


WORDS = (
    "premise options number long nested {{ }} {% %} {# #} if endif endfor x ~ * + - % | ( ) [ ] . , ' == in not\n é "
    "range( 9999999 .join( |replace( .split( |string zip( loop.index |length |list __class__"
)
PIECES = st.sampled_from([*WORDS.split(" "), "for x in", "set x =", "is none"])


@given(st.text(max_size=200) | st.lists(PIECES, max_size=30).map(" ".join) | st.text(string.printable, max_size=80))
@example("{{ long" + " ~ long" * 300 + " }}")
def test_any_pattern_gives_a_text_or_an_error(source: str) -> None:
    try:
        text = Pattern(source).render(VALUES)
    except PatternError as error:
        assert error.rule in {"syntax", "unsafe", "unknown", "random", "missing field", "fails"}
    else:
        assert len(text) <= BUDGET + LONGEST


LEAVES = st.sampled_from(["premise", "options", "number", "long", "nested", "'ab'", "7", "[]"])
FORMS = (
    "{a}~{b} {a}+{b} {a}*{b} {a}%{b} {a}=={b} ({a})|list ({a})|join({b}) ({a})|length ({a}).upper() ({a}).split({b}) "
    "({a})[1:] ({a})[0] [{a},{b}] zip({a},{b}) ({a})|replace('x',{b}) ({a})|string {{{a}:{b}}} range({a},{b})"
)


@st.composite
def expressions(draw: st.DrawFn) -> str:
    parts = [draw(LEAVES)]
    for _ in range(draw(st.integers(0, 8))):
        operand = draw(st.sampled_from(parts) | LEAVES)
        parts.append(draw(st.sampled_from(FORMS.split())).format(a=parts[-1], b=operand))
    return parts[-1]


@given(expressions())
def test_any_expression_gives_a_text_or_an_error(expression: str) -> None:
    loop = "{% for a in " + expression + " %}{{ a }}{% set b = " + expression + " %}{% endfor %}"
    for source in ("{{ " + expression + " }}", loop):
        try:
            assert len(Pattern(source).render(VALUES)) <= BUDGET + LONGEST
        except PatternError as error:
            assert error.rule in {"unsafe", "fails", "syntax"}
