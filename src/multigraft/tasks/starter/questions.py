"""Questions: which type of answer one asks for, and whether an answer is of that type.

Most questions begin with "what" or "which", and mention things of other types too.
"""

from __future__ import annotations

from multigraft.tasks.starter.grammar import Draw
from multigraft.tasks.starter.source import Row, Source
from multigraft.tasks.starter.words import NAMES, PEOPLE, TIMES, Words, words

# The nouns that a question asks for.
SOUGHT = {
    "person": words("engineer artist king explorer author captain | inventor doctor queen architect scientist poet"),
    "place": words("town country valley street island | city continent harbour province building"),
    "time": words("year month decade season | century week day hour"),
    "amount": words("weight price height length | width cost depth temperature distance speed"),
    "reason": words("reason motive cause | explanation grounds"),
    "manner": words("method technique means trick | procedure approach"),
}
THINGS = words("bridge tower railway statue canal theatre mill | lighthouse tunnel palace fountain castle windmill")
ASIDES = {
    "person": "of the {noun}",
    "place": "[of|in] the {noun}",
    "time": "of the {noun}",
    "amount": "of [the|unknown] {noun}",
}
BUILT = words("built opened painted sold repaired closed | designed destroyed restored measured abandoned")
ANSWERS: dict[str, Words] = {
    "place": words("""
        in_a_valley_near_Basel on_the_coast_of_Norway in_Lisbon next_to_the_town_hall
        | in_Brazil on_a_hill_outside_Prague in_northern_Canada across_the_street
    """),
    "time": words(
        """
        in_1874 in_the_spring_of_1921 during_the_war two_weeks_ago
        | last_Tuesday in_the_Middle_Ages at_sunrise in_2003
    """
    ),
    "amount": words("""
        forty_metres about_nine_tons three_hundred_pounds twelve_miles
        | half_a_kilometre eight_thousand_dollars sixty_degrees twenty_litres
    """),
    "reason": words("""
        because_the_roof_leaked to_save_money since_nobody_used_it for_fear_of_a_flood
        | because_it_was_too_dangerous as_it_stood_in_the_way in_order_to_please_the_king
    """),
    "manner": words("""
        with_ropes_and_horses by_digging_at_night by_adding_sand_to_the_mortar with_great_care
        | using_a_crane by_bribing_the_guards step_by_step_with_small_hammers
    """),
}


# What a question may look like, whatever it asks for; and forms that only one type has.
COMMON = (
    "[which|what] {noun} do the records [name|give|mention] for the {thing} {aside}"
    "|[which|what] {noun} [is linked|belongs] to the {thing} {aside}"
    "|[do you remember|can you tell me|does anyone know] the {noun} in the story of the {thing} {aside}"
)
OWN = {
    "person": "by whom was the {thing} {aside} {built}|who {built} the {thing} {aside}",
    "place": "where was the {thing} {aside} {built}|where does the {thing} {aside} stand",
    "time": "when was the {thing} {aside} {built}|how long ago was the {thing} {aside} {built}",
    "amount": "how [long|high|heavy] is the {thing} {aside}|how much of the {thing} {aside} was {built}",
    "reason": "why was the {thing} {aside} {built}|what [made|let] them leave the {thing} {aside}",
    "manner": "how was the {thing} {aside} {built}|in what way was the {thing} {aside} {built}",
}


def question(draw: Draw, kind: str, known: bool) -> str:
    """A question that asks for an answer of the given type."""
    distant = draw.pick([name for name in ASIDES if name != kind])
    return draw.say(
        f"[{COMMON}|{COMMON}|{OWN[kind]}]?",
        noun=SOUGHT[kind].of(known),
        thing=THINGS.of(known),
        built=BUILT.of(known),
        aside=draw.phrase(f"[{ASIDES[distant]}|{ASIDES[distant]}|]", noun=SOUGHT[distant].of(known)),
    )


def asked(draw: Draw, known: bool) -> Row:
    kind = draw.pick(list(SOUGHT))
    return {"question": question(draw, kind, known), "type": kind}


def answered(draw: Draw, known: bool) -> Row:
    kind, other = draw.some(list(SOUGHT), 2)
    fits = draw.chance(0.5)
    return {
        "question": question(draw, kind, known),
        "answer": answer(draw, kind if fits else other, known),
        "fits": "yes" if fits else "no",
    }


def answer(draw: Draw, kind: str, known: bool) -> str:
    """A short answer of the given type."""
    if kind == "person":
        return draw.say(
            "[a {who} called {name}|{name} the {who}|{name}, a [young|retired] {who}]",
            who=PEOPLE.of(known),
            name=NAMES.of(known),
        )
    text = draw.pick(ANSWERS[kind].of(known))
    if kind == "time" and draw.chance(0.5):
        text = draw.pick(TIMES.of(known))
    return draw.say("[|probably|perhaps|I think|they say] {text}", text=text)


TASKS = [
    Source(
        name="question_type",
        cluster="questions",
        description="What does the question ask for?",
        inputs=["question"],
        output={"kind": "choice", "field": "type", "choices": list(SOUGHT)},
        metric="macro_f1",
        row=asked,
        train=1_000,
    ),
    Source(
        name="answer_fits",
        cluster="questions",
        description="Is the answer of the type that the question asks for, whether or not it is right?",
        inputs=["question", "answer"],
        output={"kind": "choice", "field": "fits", "choices": ["no", "yes"]},
        metric="accuracy",
        row=answered,
        train=3_000,
    ),
]
