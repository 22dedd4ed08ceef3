"""Everyday knowledge: which tool serves a purpose, and which of two things is the heavier."""

from __future__ import annotations

from multigraft.tasks.starter.grammar import Draw
from multigraft.tasks.starter.source import Row, Source
from multigraft.tasks.starter.words import COLOURS, NAMES, TIMES, words

# Purpose and tool; the second table is held out.
TOOLS = {
    "cut bread": "knife",
    "drive a nail into a wall": "hammer",
    "sweep the floor": "broom",
    "eat soup": "spoon",
    "cross a river": "boat",
    "see in the dark": "torch",
    "write a letter": "pen",
    "measure a temperature": "thermometer",
    "dig a hole": "spade",
    "lock a door": "key",
    "stay dry in the rain": "umbrella",
    "dry wet hair": "towel",
    "light a candle": "match",
    "mend torn trousers": "needle",
    "wake up on time": "alarm clock",
    "water the flowers": "watering can",
    "boil water": "kettle",
    "find the way north": "compass",
}
HELD_TOOLS = {
    "cut paper": "scissors",
    "brush teeth": "toothbrush",
    "look at the stars": "telescope",
    "open a bottle of wine": "corkscrew",
    "climb onto a roof": "ladder",
    "take a photograph": "camera",
    "make a phone call": "telephone",
    "weigh flour": "scales",
    "catch fish": "net",
    "cook an egg": "frying pan",
    "fell a tree": "axe",
    "comb hair": "comb",
    "keep milk cold": "refrigerator",
    "see tiny insects better": "magnifying glass",
}
# Things by weight, lightest first, each class many times heavier than the one before.
WEIGHTS = (
    words("feather coin leaf button stamp needle | match petal paper_clip raindrop eyelash pea"),
    words("book shoe cup apple hammer bottle | telephone loaf plate kitten lemon hat"),
    words("child wardrobe bicycle pig washing_machine armchair | dog suitcase sheep bathtub table barrel"),
    words("elephant car tractor lorry tank rhinoceros | bus hippopotamus van fire_engine bulldozer whale"),
    words("ship bridge castle mountain airport stadium | skyscraper island cathedral oil_tanker village tower"),
)


def tool(draw: Draw, known: bool) -> Row:
    tools = TOOLS if known else TOOLS | HELD_TOOLS
    purposes = draw.some(list(tools), 4)
    need = draw.say(
        "[[{when}|] {name} [had to|wanted to|was asked to|tried to] {purpose}"
        "|to {purpose}, {name} [needed help {when}|went to the shop {when}]].",
        when=TIMES.of(known),
        name=NAMES.of(known),
        purpose=purposes[0],
    )
    options = [tools[purpose] for purpose in draw.some(purposes, 4)]
    return {"need": need, "options": options, "tool": tools[purposes[0]]}


def weight(draw: Draw, known: bool) -> Row:
    levels = draw.some(range(len(WEIGHTS)), 2)
    first, second = (
        draw.phrase("[the|a(n)] [{colour}|] {thing}", colour=COLOURS.of(known), thing=WEIGHTS[level].of(known))
        for level in levels
    )
    text = draw.say(
        "[is {first} heavier than {second}|which is heavier, {first} or {second}"
        "|{first} or {second}: what weighs more]?",
        first=first,
        second=second,
    )
    return {"question": text, "answer": "first" if levels[0] > levels[1] else "second"}


TASKS = [
    Source(
        name="tool_for",
        cluster="everyday",
        description="Which of the tools does the person need?",
        inputs=["need"],
        output={"kind": "choice", "field": "tool", "choices_field": "options"},
        metric="accuracy",
        row=tool,
        train=1_000,
    ),
    Source(
        name="heavier",
        cluster="everyday",
        description="Is the thing asked for the one named first or second?",
        inputs=["question"],
        output={"kind": "choice", "field": "answer", "choices": ["first", "second"]},
        metric="accuracy",
        row=weight,
        train=3_000,
    ),
]
