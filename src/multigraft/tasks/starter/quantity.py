"""Quantity: counting the things of a kind, and comparing two counts."""

from __future__ import annotations

from multigraft.tasks.starter.grammar import Draw, listed, plural
from multigraft.tasks.starter.source import Row, Source
from multigraft.tasks.starter.words import COLOURS, KINDS, NAMES, Words, words

NUMBERS = words("""
    one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty |
""").known
COUNTED = [kind for kind in KINDS if kind != "fish"]  # the plural of "trout" is not regular
HOLDERS = words("box bag chest crate cart | drawer trunk basket suitcase shed")
SHARED = words("chair plate bed ticket cake coat | bicycle spoon helmet desk room")
SHARERS = words("guest driver pupil traveller soldier player | visitor tourist worker dancer patient")


def count(draw: Draw, known: bool) -> Row:
    kind, other = draw.some(COUNTED, 2)
    wanted = draw.some(KINDS[kind].of(known), draw.whole(0, 3))
    things = wanted + draw.some(KINDS[other].of(known), draw.whole(0, 3 - len(wanted)) or 1)
    counts = {thing: draw.whole(1, 4) for thing in things}
    items = [_some(thing, counts[thing]) for thing in draw.some(things, len(things))]
    text = draw.say(
        "[the {holder} holds|{name} put into the {holder}|in {name}'s {holder} there are] {items}.",
        holder=HOLDERS.of(known),
        name=NAMES.of(known),
        items=listed(items),
    )
    return {"text": text, "kind": plural(kind), "count": sum(counts[thing] for thing in wanted)}


def _some(thing: str, count: int) -> str:
    return f"a(n) {thing}" if count == 1 else f"{NUMBERS[count - 1]} {plural(thing)}"


def enough(draw: Draw, known: bool) -> Row:
    few, many = sorted(draw.some(range(2, 21), 2))
    suffices = draw.chance(0.5)
    things, people = (many, few) if suffices else (few, many)
    one, two = draw.some(
        [
            _numeral(draw, things)
            + draw.phrase(" [{trait}||] {what}", trait=COLOURS.of(known), what=_plurals(SHARED, known)),
            _numeral(draw, people) + draw.phrase(" [tired|happy|young||] {what}", what=_plurals(SHARERS, known)),
        ],
        2,
    )
    text = draw.say(
        "[[there are|we counted|the list names|{name} sees] {one} and {two}|{one}, {two}: [that is all|so it is]"
        "|first {name} counts {one}, then {two}|{one} are [here|ready], and so are {two}].",
        one=one,
        two=two,
        name=NAMES.of(known),
    )
    return {"text": text, "enough": "yes" if suffices else "no"}


def _plurals(nouns: Words, known: bool) -> list[str]:
    return [plural(noun) for noun in nouns.of(known)]


def _numeral(draw: Draw, number: int) -> str:
    return str(number) if draw.chance(0.4) else NUMBERS[number - 1]


TASKS = [
    Source(
        name="count",
        cluster="quantity",
        description="How many things of the kind does the text name?",
        inputs=["text", "kind"],
        output={"kind": "number", "field": "count", "range": [0, 12]},
        metric="pearson",
        row=count,
        train=4_000,
    ),
    Source(
        name="enough",
        cluster="quantity",
        description="Is there one thing for each person?",
        inputs=["text"],
        output={"kind": "choice", "field": "enough", "choices": ["no", "yes"]},
        metric="accuracy",
        row=enough,
        train=3_000,
    ),
]
