"""Reading: questions about who does what, where the text gives trades and the question what those of the trade do."""

from __future__ import annotations

from multigraft.tasks.starter.grammar import Draw, plural
from multigraft.tasks.starter.source import Row, Source
from multigraft.tasks.starter.words import NAMES, TIMES

# What somebody of a trade does; the second table is held out.
TRADES = {
    "baker": "make bread",
    "pilot": "fly planes",
    "dentist": "treat teeth",
    "gardener": "plant trees",
    "tailor": "sew clothes",
    "fisherman": "catch fish",
    "singer": "perform songs",
    "butcher": "cut meat",
    "lawyer": "go to court",
    "teacher": "give lessons to children",
    "plumber": "repair water pipes",
    "novelist": "write books",
    "soldier": "serve in the army",
    "bus driver": "take passengers across town",
    "astronomer": "study the stars",
}
HELD_TRADES = {
    "farmer": "grow wheat",
    "chemist": "mix substances",
    "carpenter": "build wooden tables",
    "mechanic": "repair engines",
    "photographer": "take pictures",
    "nurse": "look after patients",
    "sailor": "work on a ship",
    "jeweller": "sell gold rings",
    "librarian": "lend books",
    "firefighter": "put out fires",
}


def story(draw: Draw, known: bool) -> tuple[str, dict[str, str], list[str]]:
    """A text about three people, what each of them does, and two things that nobody does."""
    trades = TRADES if known else TRADES | HELD_TRADES
    names, chosen = draw.some(NAMES.of(known), 3), draw.some(list(trades), 5)
    lines = [
        draw.say(
            "{name} [is|works as|has long been] a(n) {trade}.|{name} [became a(n) {trade}|began to work as a(n) {trade}] {time}.|{name}, a(n) {trade}, [left|arrived|called] {time}."
            .join("[]"), name=name, trade=trade, time=TIMES.of(known),
        )
        for name, trade in zip(names, chosen, strict=False)
    ]  # fmt: skip
    does = {name: trades[trade] for name, trade in zip(names, chosen, strict=False)}
    return " ".join(lines), does, [trades[trade] for trade in chosen[3:]]


def yes_no(draw: Draw, known: bool) -> Row:
    text, does, idle = story(draw, known)
    name, other = draw.some(list(does), 2)
    true = draw.chance(0.5)
    deed = does[name] if true else does[other] if draw.chance(0.6) else draw.pick(idle)
    question = draw.say(
        "[does {name} {deed}|is it part of {name}'s work to {deed}|is {name} paid to {deed}]?", name=name, deed=deed
    )
    return {"passage": text, "question": question, "answer": "yes" if true else "no"}


def who(draw: Draw, known: bool) -> Row:
    text, does, _ = story(draw, known)
    name = draw.pick(list(does))
    verb, _, rest = does[name].partition(" ")
    question = draw.say(
        f"[who {plural(verb)} {rest}|which of them {plural(verb)} {rest}|whose work is it to {verb} {rest}]?"
    )
    return {"passage": text, "question": question, "options": draw.some(list(does), 3), "person": name}


TASKS = [
    Source(
        name="yes_no",
        cluster="reading",
        description="Answer the question about the passage.",
        inputs=["passage", "question"],
        output={"kind": "choice", "field": "answer", "choices": ["no", "yes"]},
        metric="accuracy",
        row=yes_no,
        train=4_000,
    ),
    Source(
        name="who",
        cluster="reading",
        description="Which of the people in the passage is asked for?",
        inputs=["passage", "question"],
        output={"kind": "choice", "field": "person", "choices_field": "options"},
        metric="accuracy",
        row=who,
        train=2_000,
    ),
]
