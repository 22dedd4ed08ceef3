"""Topic: of articles, and of headlines. What a text is about is decided by its main words, not by its asides."""

from __future__ import annotations

from multigraft.tasks.starter.grammar import Draw
from multigraft.tasks.starter.source import Row, Source
from multigraft.tasks.starter.words import NAMES, TIMES, words

TOPICS = {
    "sport": words("""
        goalkeeper referee tournament penalty stadium relay striker marathon league medal
        | coach sprinter championship hurdle quarterback wrestling playoff cyclist athlete batsman
    """),
    "health": words("""
        vaccine surgeon fever clinic allergy infection ward diagnosis pharmacy bandage
        | virus nurse asthma antibiotic therapy epidemic patient migraine x-ray diabetes
    """),
    "money": words("""
        loan mortgage shareholder inflation currency dividend salary budget bankruptcy tax
        | investor pension bond auditor stock_exchange debt interest_rate accountant profit broker
    """),
    "weather": words("""
        thunderstorm drizzle frost heatwave fog blizzard rainfall gale hail humidity
        | hurricane snowfall drought tornado sunshine icicle cloud breeze lightning flood
    """),
    "cooking": words("""
        casserole oven pastry garlic saucepan gravy dough pancake vinegar stew
        | recipe omelette marinade frying_pan noodle spice biscuit broth chef dumpling
    """),
    "music": words("""
        violinist symphony choir guitar melody concerto drummer chorus opera soprano
        | orchestra pianist ballad trumpet quartet hymn composer saxophone sonata bassist
    """),
    "travel": words("""
        passport airline luggage ferry itinerary hostel sightseeing cruise visa souvenir
        | tourist airport suitcase resort customs_officer beach_holiday campsite railway backpacker embassy
    """),
    "law": words("""
        judge verdict lawsuit prosecutor jury witness burglar sentence prison bail
        | lawyer defendant courtroom appeal perjury attorney detective alibi trial conviction
    """),
}


def article(draw: Draw, known: bool) -> Row:
    topic, aside = draw.some(list(TOPICS), 2)
    (main, second), (distant, far) = (draw.some(TOPICS[name].of(known), 2) for name in (topic, aside))
    text = draw.say(
        "[{who}'s report {when} deals with the {main} [and the {second}|], not with the {distant} [or the {far}|]"
        "|{who} turned away from the {distant} [and the {far}|] and wrote about the {main} [and the {second}|] {when}"
        "|instead of the {distant} [and the {far}|], {who} described the {main} [and the {second}|]"
        "|nobody asks about the {distant} any more: everybody talks about the {main} [and the {second}|]"
        "|the {main} and the {second} were on every page, said {who}, "
        "while the {distant} was [hardly mentioned|forgotten]"
        "|{when} the story of the {distant} made way for news of the {main} [and the {second}|]"
        "|{who} likes to compare the {main} to a(n) {distant}, but the talk {when} was all about the {second}].",
        main=main,
        second=second,
        distant=distant,
        far=far,
        who=NAMES.of(known),
        when=TIMES.of(known),
    )
    return {"text": text, "topic": topic}


def headline(draw: Draw, known: bool) -> Row:
    topic, aside = draw.some(list(TOPICS), 2)
    (main, second), far = draw.some(TOPICS[topic].of(known), 2), draw.pick(TOPICS[aside].of(known))
    text = draw.say(
        "[{main}: new {second} [questions|worries|plans]|{who} on {main}, {second} and a(n) {far}"
        "|no {far}, but {main} and {second}"
        "|{main} [surprise|row|shock] in the {second} [affair|debate|story]|forget the {far}: here comes the {main}"
        "|{main} and {second} [beat|eclipse] {far}]",
        main=main,
        second=second,
        far=far,
        who=NAMES.of(known),
    )
    return {"text": text, "topic": topic}


TOPIC = {"kind": "choice", "field": "topic", "choices": list(TOPICS)}
TASKS = [
    Source(
        name="articles",
        cluster="topic",
        description="What is the report mainly about?",
        inputs=["text"],
        output=TOPIC,
        metric="accuracy",
        row=article,
        train=4_000,
        noise=0.05,
    ),
    Source(
        name="headlines",
        cluster="topic",
        description="What is the headline mainly about?",
        inputs=["text"],
        output=TOPIC,
        metric="macro_f1",
        row=headline,
        train=120,
        validation=100,
    ),
]
