"""Rewriting: a sentence in another form, as text."""

from __future__ import annotations

from multigraft.tasks.starter.grammar import Draw, sentence
from multigraft.tasks.starter.source import Row, Source
from multigraft.tasks.starter.words import COLOURS, DEEDS, MEETINGS, PEOPLE, PLACES, TIMES, kinds


def active(draw: Draw, known: bool) -> Row:
    who, whom, where, when = _parts(draw, known)
    verb = draw.pick(draw.pick(DEEDS if "a(n)" in whom else MEETINGS))
    return {
        "passive": draw.say(
            f"[{when}, {whom} was {verb.done} {where} by {who}|{whom} was {verb.done} by {who} {where} {when}]."
        ),
        "active": sentence(f"{who} {verb.past} {whom} {where} {when}."),
    }


def asked(draw: Draw, known: bool) -> Row:
    who, whom, where, when = _parts(draw, known)
    verb = draw.pick(draw.pick(DEEDS if "a(n)" in whom else MEETINGS))
    rest = draw.phrase(f"[{where}|{when}|{where} {when}]")
    told, question = draw.pick(
        [
            (f"{who} {verb.past} {whom} {rest}", f"did {who} {verb.base} {whom} {rest}"),
            (f"{who} will {verb.base} {whom}", f"will {who} {verb.base} {whom}"),
            (f"{whom} was {verb.done} {rest}", f"was {whom} {verb.done} {rest}"),
            (f"{who} has {verb.done} {whom}", f"has {who} {verb.done} {whom}"),
        ]
    )
    return {"statement": sentence(told + "."), "question": sentence(question + "?")}


def _parts(draw: Draw, known: bool) -> tuple[str, str, str, str]:
    """Who, whom or what, where, when."""
    who, whom = draw.some(PEOPLE.of(known), 2)
    thing = draw.pick(draw.pick(list(kinds(known).values())))
    patient = draw.phrase(f"[the {whom}|a(n) [{{colour}}|] {thing}]", colour=COLOURS.of(known))
    return f"the {who}", patient, draw.pick(PLACES.of(known)), draw.pick(TIMES.of(known))


TASKS = [
    Source(
        name="to_active",
        cluster="rewriting",
        description="Say it in the active voice.",
        inputs=["passive"],
        output={"kind": "text", "field": "active"},
        metric="exact_match",
        row=active,
        train=3_000,
    ),
    Source(
        name="to_question",
        cluster="rewriting",
        description="Turn the statement into a question that it answers with yes.",
        inputs=["statement"],
        output={"kind": "text", "field": "question"},
        metric="exact_match",
        row=asked,
        train=1_000,
    ),
]
