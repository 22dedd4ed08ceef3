"""Correct English: is a sentence well formed, and which word fits the gap. Both tasks draw from the same frames."""

from __future__ import annotations

from multigraft.tasks.starter.grammar import Draw, plural, sentence
from multigraft.tasks.starter.source import Row, Source
from multigraft.tasks.starter.words import COLOURS, DEEDS, MEETINGS, PEOPLE, PLACES, words

GAP = "___"
NOUNS = words(
    "key lamp picture letter basket window ladder bottle ticket carpet | mirror drawer blanket bucket parcel kettle"
)
AGREEING = [("is", "are"), ("was", "were"), ("has been", "have been"), ("needs to be", "need to be"), ("seems", "seem")]
STATES = words("clean broken ready new missing expensive | dirty useless cheap old unusual")
ONE_MANY = (["this", "that", "every", "each", "another"], ["these", "those", "many", "several", "few"])
AUXILIARIES = {
    "base": ["will", "did not", "might", "has to"],
    "past": [""],
    "done": ["has", "has never", "had already"],
}
Frame = tuple[str, str, list[str]]


def agreement(draw: Draw, known: bool) -> Frame:
    """A verb after a subject that a noun of the other number may part from it."""
    head, near = draw.some(NOUNS.of(known), 2)
    many, distract = draw.chance(0.5), draw.chance(0.5)
    right, wrong = draw.pick(AGREEING)[:: -1 if many else 1]
    subject = f"the {plural(head) if many else head}"
    attractor = f"[next to|behind|under|near|of] the {{who}}'s {plural(near) if distract else near}"
    text = draw.phrase(
        f"{subject} {attractor} [{{where}}|] {GAP} {{state}}",
        who=PEOPLE.of(known),
        where=PLACES.of(known),
        state=STATES.of(known),
    )
    return text, right, [wrong]


def tense(draw: Draw, known: bool) -> Frame:
    """The form of a verb after its auxiliary."""
    group, whom = draw.pick([(DEEDS, NOUNS), (MEETINGS, PEOPLE)])
    verb = draw.pick(draw.pick(group))
    forms = {"base": verb.base, "past": verb.past, "done": verb.done}
    form = draw.pick(list(forms))
    text = draw.phrase(
        "[the {who} says that|it seems that|] the {who} {auxiliary} {gap} the {whom} [{where}|]",
        auxiliary=draw.pick(AUXILIARIES[form]),
        gap=GAP,
        who=PEOPLE.of(known),
        whom=whom.of(known),
        where=PLACES.of(known),
    )
    gerund = verb.base.removesuffix("e") + "ing"
    wrong = [word for word in (verb.base, verb.done, gerund) if word != forms[form]]
    if form == "base" and verb.past not in wrong:
        wrong.append(verb.past)
    return text, forms[form], wrong


def number(draw: Draw, known: bool) -> Frame:
    """A word that says one or many before a noun, which a colour may part from it."""
    many = draw.chance(0.5)
    noun = draw.pick(NOUNS.of(known))
    text = draw.phrase(
        f"the {{who}} {{past}} {GAP} [{{colour}}|] {plural(noun) if many else noun} {{where}}",
        who=PEOPLE.of(known),
        past=draw.pick(draw.pick(DEEDS)).past,
        colour=COLOURS.of(known),
        where=PLACES.of(known),
    )
    return text, draw.pick(ONE_MANY[many]), draw.some(ONE_MANY[not many], 2)


def judged(draw: Draw, known: bool) -> Row:
    text, right, wrong = draw.pick([agreement, tense, number])(draw, known)
    correct = draw.chance(0.5)
    disorder = not correct and draw.chance(0.3)
    text = text.replace(GAP, right if correct or disorder else draw.pick(wrong))
    if disorder:
        parts = text.split()
        at = draw.whole(1, len(parts) - 2)
        text = " ".join([*parts[: at - 1], parts[at], parts[at - 1], *parts[at + 1 :]])
    return {"sentence": sentence(text + "."), "correct": "yes" if correct else "no"}


def gap(draw: Draw, known: bool) -> Row:
    text, right, wrong = draw.pick([agreement, tense, number])(draw, known)
    return {"sentence": sentence(text + "."), "options": draw.some([right, *wrong], len(wrong) + 1), "word": right}


TASKS = [
    Source(
        name="well_formed",
        cluster="correctness",
        description="Is the sentence correct English?",
        inputs=["sentence"],
        output={"kind": "choice", "field": "correct", "choices": ["no", "yes"]},
        metric="matthews",
        row=judged,
        train=6_000,
    ),
    Source(
        name="gap",
        cluster="correctness",
        description="Which of the words fits the gap?",
        inputs=["sentence"],
        output={"kind": "choice", "field": "word", "choices_field": "options"},
        metric="accuracy",
        row=gap,
        train=1_500,
        note="Two to four options.",
    ),
]
