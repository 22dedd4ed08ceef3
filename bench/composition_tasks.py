"""A suite of abilities and of pairs of them in one instruction, made from the rows of the starter suite.

A composed task has the rows of its first part, whose answer its second part rewrites. Wording k of a composed task says
wording k of both parts. What a second part does has to be seen by `exact_match`, and written by `pocket`: its word
pieces have no capitals, and the metric takes punctuation away, so upper case and brackets are none of them. The rows of
the parts that rewrite any text are spans of inputs, among which the answers that they meet in a pair are rare. First
parts are such that a hundred steps teach them to an expert on `pocket`; those of `reviews` leave it at chance.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from multigraft.files import new_folder, write_text
from multigraft.tasks.starter import sources
from multigraft.tasks.starter.grammar import Draw
from multigraft.tasks.starter.source import Row, Source
from multigraft.tasks.starter.words import DEEDS, MEETINGS

ROWS = 1000  # of the training split of each task
SPAN = 3  # words of a text to rewrite, at most
TEXT = {"kind": "text", "field": "written"}
LAYOUTS = ("{ask}\n\n{text}", "{text}\n\n{ask}", "{ask} {text}")  # of wordings 0, 1 and 2
STARTER = {source.name: source for source in sources()}
SPANS_OF = ("reviews", "meeting_place", "question_type")
BASE = {verb.past: verb.base for group in (*DEEDS, *MEETINGS) for verb in group}


@dataclass(frozen=True)
class Second:
    """A part that rewrites a text: how it is asked, with `{it}` for the text, and what it makes of one."""

    asks: tuple[str, ...]
    write: Callable[[str], str]


def _question(sentence: str) -> str:
    """The question that an active sentence of `to_active` answers with yes."""
    the, who, past, *rest = sentence.removesuffix(".").split()
    return f"Did {the.lower()} {who} {BASE[past]} {' '.join(rest)}?"


FIRST: dict[str, tuple[str, ...]] = {
    "headlines": (
        "What is the headline about: sport, health, money, weather, cooking, music, travel or law?",
        "Sort the headline: sport, health, money, weather, cooking, music, travel or law.",
        "Name the topic: sport, health, money, weather, cooking, music, travel or law.",
    ),
    "meeting_place": (
        "Where is the meeting?",
        "Copy the words that say where people will meet.",
        "Name the place of the meeting.",
    ),
    "question_type": (
        "Does the question ask for a person, place, time, amount, reason or manner?",
        "Sort the question: person, place, time, amount, reason or manner.",
        "Which type of answer is wanted: person, place, time, amount, reason or manner?",
    ),
    "to_active": (
        "Say it in the active voice.",
        "Rewrite the sentence so that the doer comes first.",
        "Turn the passive sentence into an active one.",
    ),
}
SECOND = {
    "twice": Second(
        ("Write {it} twice.", "Say {it} two times.", "Give {it} and then the same again."),
        lambda text: f"{text} {text}",
    ),
    "reversed": Second(
        (
            "Write the words of {it} in reverse order.",
            "Say {it} backwards, word by word.",
            "Begin with the last word of {it} and end with the first.",
        ),
        lambda text: " ".join(reversed(text.split())),
    ),
    "framed": Second(
        (
            "Write {it} between the words start and stop.",
            "Put the word start before {it} and the word stop behind.",
            "Begin with start, give {it}, and end with stop.",
        ),
        lambda text: f"start {text} stop",
    ),
    "to_question": Second(
        (
            "Turn {it} into a question.",
            "Make a yes-or-no question of {it}.",
            "Rewrite {it} so that it ends with a question mark.",
        ),
        _question,
    ),
}
COMPOSED = {
    f"{first}-{second}": (first, second)
    for first, second in (
        ("headlines", "twice"),
        ("meeting_place", "twice"),
        ("meeting_place", "reversed"),
        ("question_type", "framed"),
        ("to_active", "to_question"),
    )
}


def write_suite(folder: Path) -> None:
    """Write the suite, unless it is there. Rows of the starter suite's tasks are in the splits that they have there."""
    if folder.exists():
        return
    parts = {name: (_first(name), asks) for name, asks in FIRST.items()}
    parts |= {
        name: (_second(name), tuple(ask.format(it="the text") for ask in part.asks)) for name, part in SECOND.items()
    }
    pairs = {name: (_composed(name), _both(*pair)) for name, pair in COMPOSED.items()}
    with new_folder(folder) as new:
        for source, asks in (*parts.values(), *pairs.values()):
            source.write(new / source.name)
            write_text(new / source.name / "templates.yaml", _templates(asks, source.inputs[0]))
        suite = {
            "name": "composition",
            "description": "Abilities, and pairs of them in one instruction.",
            "tasks": [*parts, *pairs],
            "clusters": {"parts": [*parts], "composed": [*pairs]},
        }
        write_text(new / "suite.yaml", yaml.safe_dump(suite, sort_keys=False))


def _first(name: str) -> Source:
    """A task of the starter suite, its answer as text and never wrong."""
    source = STARTER[name]
    output = {**TEXT, "field": source.output["field"]}
    return replace(source, output=output, metric="exact_match", train=ROWS, noise=0.0, seed=name)


def _second(name: str) -> Source:
    if name in STARTER:
        return _first(name)

    def row(draw: Draw, known: bool) -> Row:
        source = STARTER[draw.pick(SPANS_OF)]
        words = re.findall(r"[a-z]+", source.row(draw, known)[source.inputs[0]].lower())
        count = draw.whole(1, SPAN)
        start = draw.whole(0, len(words) - count)
        text = " ".join(words[start : start + count])
        return {"text": text, "written": SECOND[name].write(text)}

    description = SECOND[name].asks[0].format(it="the text")
    return Source(name, "rewriting", description, ["text"], TEXT, "exact_match", row, ROWS)


def _composed(name: str) -> Source:
    first, second = COMPOSED[name]
    source = _first(first)

    def row(draw: Draw, known: bool) -> Row:
        drawn = source.row(draw, known)
        field = source.inputs[0]
        return {field: drawn[field], "written": SECOND[second].write(drawn[source.output["field"]])}

    return replace(source, name=name, description=_both(first, second)[0], output=TEXT, row=row)


def _both(first: str, second: str) -> tuple[str, ...]:
    """Each wording of a pair."""
    return tuple(
        f"{ask} {then.format(it='the answer')}" for ask, then in zip(FIRST[first], SECOND[second].asks, strict=True)
    )


def _templates(asks: tuple[str, ...], field: str) -> str:
    templates = [
        {"name": f"wording {k}", "input": layout.format(ask=ask, text=f"{{{{ {field} }}}}")}
        for k, (ask, layout) in enumerate(zip(asks, LAYOUTS, strict=True))
    ]
    return yaml.safe_dump({"templates": templates}, sort_keys=False, width=1000)
