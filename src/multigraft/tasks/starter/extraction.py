"""Extraction: a part of the text that answers a question, as text."""

from __future__ import annotations

from multigraft.tasks.starter.grammar import Draw
from multigraft.tasks.starter.source import Row, Source
from multigraft.tasks.starter.words import COLOURS, NAMES, PLACES, TIMES, kinds, words

WHEN = words("tomorrow on_Friday at_noon tonight next_week | on_Sunday at_midnight in_an_hour after_lunch")


def trade(draw: Draw, known: bool) -> Row:
    giver, taker, friend = draw.some(NAMES.of(known), 3)
    thing = draw.phrase("[{colour}|] {thing}", colour=COLOURS.of(known), thing=draw.pick(list(kinds(known).values())))
    text = draw.say(
        "[{giver} [sold|gave|lent|sent] a(n) {thing} to {taker} [, not to {friend},|] {when}"
        "|{taker} [bought|got|received|borrowed] a(n) {thing} from {giver} {when} [, while {friend} watched|]"
        "|it was from {giver} that {taker} [got|received] a(n) {thing} {when}"
        "|{when}, {friend} saw {taker} [buy|take] a(n) {thing} from {giver}].",
        giver=giver,
        taker=taker,
        friend=friend,
        thing=thing,
        when=TIMES.of(known),
    )
    if draw.chance(0.5):
        return {"text": text, "question": draw.say("[who has it now|who got it|who left with it]?"), "name": taker}
    return {
        "text": text,
        "question": draw.say("[who had it before|who parted with it|whose was it at first]?"),
        "name": giver,
    }


def appointment(draw: Draw, known: bool) -> Row:
    where, elsewhere = draw.some(PLACES.of(known), 2)
    text = draw.say(
        "[let us meet {where} {when} instead of {elsewhere}"
        "|not {elsewhere}, but {where} is where {name} waits {when}"
        "|{name} was to be {elsewhere}, but now comes {when} and will wait {where}"
        "|we meet {when}, {where} and no longer {elsewhere}"
        "|forget what {name} said: nobody is {elsewhere}, all are {where} {when}].",
        where=where,
        elsewhere=elsewhere,
        when=WHEN.of(known),
        name=NAMES.of(known),
    )
    return {"message": text, "place": where}


TASKS = [
    Source(
        name="who_has_it",
        cluster="extraction",
        description="Answer the question with a name from the text.",
        inputs=["text", "question"],
        output={"kind": "text", "field": "name"},
        metric="exact_match",
        row=trade,
        train=3_000,
    ),
    Source(
        name="meeting_place",
        cluster="extraction",
        description="Copy the part of the message that says where the meeting is.",
        inputs=["message"],
        output={"kind": "text", "field": "place"},
        metric="exact_match",
        row=appointment,
        train=1_000,
    ),
]
