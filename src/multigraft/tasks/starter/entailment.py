"""Entailment: a large task about deeds, a tiny one about rules.

A kind follows from its things (a spaniel is a dog), but not the other way round; under a negation the direction
turns. What is added in the second text does not follow; what is left out does.
"""

from __future__ import annotations

from multigraft.tasks.starter.grammar import Draw
from multigraft.tasks.starter.source import Row, Source
from multigraft.tasks.starter.words import COLOURS, DEEDS, PEOPLE, PLACES, kinds, words

LABELS = ["follows", "contradicts", "open"]
STAFF = words("cooks drivers guards nurses cleaners | porters clerks cashiers technicians")
DUTIES = words("""
    wear_gloves lock_the_doors sign_the_register switch_off_the_lights wash_the_floor weigh_every_parcel
    | wear_helmets close_the_windows answer_the_phone empty_the_bins check_the_tickets
""")
DETAILS = words(
    "before_noon at_the_front_desk every_Friday during_the_night_shift | in_the_morning on_the_ground_floor"
)


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


def rule(draw: Draw, known: bool) -> Row:
    label = draw.pick(LABELS)
    staff, others = draw.some(STAFF.of(known), 2)
    duty, task = draw.some(DUTIES.of(known), 2)
    detail = draw.phrase("[{detail}|]", detail=DETAILS.of(known))
    must = "[must|have to|are required to|are obliged to]"
    conclusion = {
        "follows": f"{staff} {must} {duty}|some {staff} {must} {duty}|{staff} are not free to refuse to {duty}",
        "contradicts": f"{staff} [need not|do not have to|never have to] {duty}|no {staff} {must} {duty}",
        "open": f"{staff} {must} {task}|{others} {must} {duty}|{others} [need not|do not have to] {duty}"
        f"|{staff} [need not|do not have to] {task}",
    }[label]
    return {
        "premise": draw.say(f"[all|the|without exception,] {staff} {must} {duty} {detail}."),
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
        train=150,
        validation=100,
    ),
]
