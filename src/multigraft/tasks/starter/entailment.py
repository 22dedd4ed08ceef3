"""Entailment: a large task about deeds, a tiny one about rules.

A kind follows from its things (a spaniel is a dog), but not the other way round; under a negation the direction
turns. What is added in the second text does not follow; what is left out does.
"""

from __future__ import annotations

from multigraft.tasks.starter.grammar import Draw, plural
from multigraft.tasks.starter.source import Row, Source
from multigraft.tasks.starter.words import COLOURS, DEEDS, PEOPLE, PLACES, kinds, words

LABELS = ["follows", "contradicts", "open"]
ROOMS = words("""
    to_the_office into_the_canteen into_the_laboratory on_board to_the_meeting into_the_waiting_room
    | into_the_lift to_the_exam into_the_chapel onto_the_platform
""")
# What the second text may say, by label: after a first text that says "did", and after one that says "did not".
AFTER_DID = {
    "follows": "{who} {past2} [{kind}|{thing}] [{where}|]|somebody {past2} {kind} [{where}|]"
    "|{kind} was {done2} [by {who}|{where}]",
    "contradicts": "{who} did not {base2} [{kind}|{thing}] [{where}|]|nobody {past2} [{kind}|{thing}] {where}"
    "|it is not true that {kind} was {done2} {where}",
    "open": "{who} {past2} {other} {where}|{stranger} {past2} {thing} {where}|{other} was {done2} [by {who}|{where}]"
    "|{stranger} did not {base2} {kind}|{who} did not {base2} {other} {where}",
}
AFTER_DID_NOT = {
    "follows": "{who} did not {base2} {thing} {where}|{thing} was not {done2} by {who} {where}",
    "contradicts": "{who} {past2} [{kind}|{thing}] {where}|[{kind}|{thing}] was {done2} {where} by {who}",
    "open": "[{who}|{stranger}] {past2} {other} {where}|{who} did not {base2} {other} {where}"
    "|{stranger} [did not {base2}|{past2}] {thing} {where}",
}


def deed(draw: Draw, known: bool) -> Row:
    label = draw.pick(LABELS)
    who, stranger = draw.some(PEOPLE.of(known), 2)
    (kind, things), (other, _) = draw.some(list(kinds(known).items()), 2)
    thing, colour = draw.pick(things), draw.phrase("[{colour}||]", colour=COLOURS.of(known))
    group = draw.pick(DEEDS)
    did, same = (draw.pick(group[: 2 if known else None]) for _ in range(2))
    slots = {
        "who": f"the {who}",
        "stranger": f"the {stranger}",
        "where": draw.pick(PLACES.of(known)),
        "kind": f"a(n) {kind}",
        "thing": f"a(n) {thing}",
        "other": f"a(n) {other}",
        "past2": same.past,
        "base2": same.base,
        "done2": same.done,
    }
    if draw.chance(0.3):
        premise, conclusion = (
            f"{{who}} [did not {did.base} {{kind}}|{did.past} no {kind}] {{where}}",
            AFTER_DID_NOT[label],
        )
    elif label == "open" and draw.chance(0.3):
        premise, conclusion = f"{{who}} {did.past} {{kind}} {{where}}", "{who} {past2} {thing} [{where}|]"
    else:
        premise, conclusion = f"{{who}} {did.past} a(n) {colour} {thing} {{where}}", AFTER_DID[label]
    return {
        "premise": draw.say(f"{premise}.", **slots),
        "conclusion": draw.say(f"[{conclusion}].", **slots),
        "relation": label,
    }


MAY, MUST_NOT = "[may|can|are allowed to|are free to]", "[must not|may not|are forbidden to|are not allowed to]"


def rule(draw: Draw, known: bool) -> Row:
    label, where = draw.pick(LABELS), draw.pick(ROOMS.of(known))
    who, stranger = (plural(person) for person in draw.some(PEOPLE.of(known), 2))
    (kind, things), (_, others) = draw.some(list(kinds(known).items()), 2)
    narrow, allowed = draw.chance(0.3), draw.chance(0.5)
    thing, other = draw.pick(things), draw.pick(others)
    same, opposite = (MAY, MUST_NOT) if allowed else (MUST_NOT, MAY)
    subject = thing if narrow else kind
    conclusion = {
        "follows": f"{who} {same} [bring|take] a(n) {thing} {where}",
        "contradicts": f"{who} {opposite} [bring|take] a(n) {thing} {where}",
        "open": f"{stranger} [{same}|{opposite}] [bring|take] a(n) {thing} {where}"
        f"|{who} [{same}|{opposite}] [bring|take] a(n) {other} {where}",
    }[label]
    return {
        "premise": draw.say(f"{who} {same} [bring|take] [any|a(n)] {subject} {where}."),
        "conclusion": draw.say(f"[{conclusion}]."),
        "relation": label,
    }


RELATION = {"kind": "choice", "field": "relation", "choices": LABELS}
TASKS = [
    Source(
        name="entailment",
        cluster="entailment",
        description="Does the conclusion follow from the premise, contradict it, or is it open?",
        inputs=["premise", "conclusion"],
        output=RELATION,
        metric="accuracy",
        row=deed,
        train=10_000,
        noise=0.02,
    ),
    Source(
        name="house_rules",
        cluster="entailment",
        description="Does the conclusion follow from the rule, contradict it, or is it open?",
        inputs=["premise", "conclusion"],
        output=RELATION,
        metric="accuracy",
        row=rule,
        train=120,
        validation=100,
    ),
]
