"""Similarity of two sentences: the same event in other words, or how much of it is the same."""

from __future__ import annotations

from multigraft.tasks.starter.grammar import Draw
from multigraft.tasks.starter.source import Row, Source
from multigraft.tasks.starter.words import COLOURS, DEEDS, MEETINGS, PEOPLE, PLACES, TIMES, Verb, kinds


def meeting(draw: Draw, known: bool) -> Row:
    same = draw.chance(0.5)
    (who, whom, stranger), (when, later) = draw.some(PEOPLE.of(known), 3), draw.some(TIMES.of(known), 2)
    first, second = draw.some(draw.pick(MEETINGS), 2)
    change = "nothing" if same else draw.pick(["roles", "roles", "verb", "person", "denial", "time"])
    one = _told(draw, who, first, whom, when)
    if change == "roles":
        who, whom = whom, who
    elif change == "verb":
        second = draw.pick(draw.pick([group for group in MEETINGS if first not in group]))
    elif change == "person":
        who, whom = draw.pick([(stranger, whom), (who, stranger)])
    elif change == "time":
        when = later
    return {
        "first": one,
        "second": _told(draw, who, second, whom, when, change == "denial"),
        "same": "yes" if same else "no",
    }


def _told(draw: Draw, who: str, verb: Verb, whom: str, when: str, denied: bool = False) -> str:
    active = f"did not {verb.base}" if denied else verb.past
    passive = f"was {'not ' if denied else ''}{verb.done}"
    return draw.say(
        f"[the {who} {active} the {whom} {when}|{when}, the {who} {active} the {whom}"
        f"|the {whom} {passive} by the {who} {when}|it was {when} that the {who} {active} the {whom}]."
    )


def overlap(draw: Draw, known: bool) -> Row:
    who, stranger = draw.some(PEOPLE.of(known), 2)
    deed, other_deed = draw.some(DEEDS, 2)
    (kind, things), (_, other_things) = draw.some(list(kinds(known).items()), 2)
    thing, akin = draw.some(things, 2)
    where, elsewhere = draw.some(PLACES.of(known), 2)
    colour = draw.phrase("[{colour}|]", colour=COLOURS.of(known))
    score = 0.0
    verb, verb2 = draw.some(deed, 2)
    if draw.chance(0.6):
        score += 1
    else:
        verb2 = draw.pick(other_deed)
    who2 = who if draw.chance(0.6) else stranger
    where2 = where if draw.chance(0.6) else elsewhere
    object2, gain = draw.pick([(thing, 2.0), (thing, 2.0), (kind, 1.5), (akin, 1.0), (draw.pick(other_things), 0.0)])
    score += gain + (who2 == who) + (where2 == where)
    told = "[{who} {past} a(n) {thing} {where}|a(n) {thing} was {done} by {who} {where}]."
    return {
        "first": draw.say(
            told, who=f"the {who}", past=verb.past, done=verb.done, thing=f"{colour} {thing}", where=where
        ),
        "second": draw.say(told, who=f"the {who2}", past=verb2.past, done=verb2.done, thing=object2, where=where2),
        "score": score,
    }


TASKS = [
    Source(
        name="same_event",
        cluster="similarity",
        description="Do the two sentences tell the same event?",
        inputs=["first", "second"],
        output={"kind": "choice", "field": "same", "choices": ["no", "yes"]},
        metric="accuracy",
        row=meeting,
        train=5_000,
    ),
    Source(
        name="overlap",
        cluster="similarity",
        description="How much do the two events have in common?",
        inputs=["first", "second"],
        output={"kind": "number", "field": "score", "range": [0, 5]},
        metric="pearson",
        row=overlap,
        train=2_000,
        note="Doer, deed and place count 1 each, the thing 2, or 1.5 as its kind, or 1 as a thing of the same kind.",
    ),
]
