"""Reading: questions about who does what, where the text gives trades and the question what those of the trade do."""

from __future__ import annotations

from multigraft.tasks.starter.grammar import Draw
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


def story(draw: Draw, known: bool) -> tuple[str, dict[str, str], str]:
    """A text about two people, what each of them does, and one thing that neither does."""
    trades = TRADES if known else TRADES | HELD_TRADES
    *chosen, idle = draw.some(list(trades), 3)
    does = dict(zip(draw.some(NAMES.of(known), 2), (trades[trade] for trade in chosen), strict=True))
    lines = [
        draw.say(
            "[{name} [is|works as|has long been] a(n) {trade}"
            "|{name} [became a(n) {trade}|began to work as a(n) {trade}] {time}"
            "|{name}, a(n) {trade}, [left|arrived|called] {time}].",
            name=name,
            trade=trade,
            time=TIMES.of(known),
        )
        for name, trade in zip(does, chosen, strict=True)
    ]
    return " ".join(lines), does, trades[idle]


def yes_no(draw: Draw, known: bool) -> Row:
    text, does, idle = story(draw, known)
    name, other = draw.some(list(does), 2)
    true = draw.chance(0.5)
    deed = does[name] if true else does[other] if draw.chance(0.4) else idle
    question = draw.say(f"[does {name} {deed}|is it part of {name}'s work to {deed}|is {name} paid to {deed}]?")
    return {"passage": text, "question": question, "answer": "yes" if true else "no"}


def work(draw: Draw, known: bool) -> Row:
    text, does, idle = story(draw, known)
    name = draw.pick(list(does))
    question = draw.say(f"[what does {name} do for a living|what is {name}'s work|how does {name} earn money]?")
    return {"passage": text, "question": question, "options": draw.some([*does.values(), idle], 3), "work": does[name]}


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
        name="work",
        cluster="reading",
        description="What does the person asked for do?",
        inputs=["passage", "question"],
        output={"kind": "choice", "field": "work", "choices_field": "options"},
        metric="accuracy",
        row=work,
        train=2_000,
    ),
]
