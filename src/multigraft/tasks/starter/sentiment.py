"""Sentiment: a large task, a tiny one in another domain, and a rating of the same kind of text.

The verdict of a text is that of its main clause: negation turns words round, concessions and expectations
bring words of the opposite colour.
"""

from __future__ import annotations

from multigraft.tasks.starter.grammar import Draw
from multigraft.tasks.starter.source import Row, Source
from multigraft.tasks.starter.words import BLAME, PRAISE, TIMES, words

LABELS = ["negative", "positive"]
ASPECTS = {
    "restaurant": words("soup service dessert menu terrace lamb | salad decoration"),
    "hotel": words("room breakfast swimming_pool lobby view staff | bar lift"),
    "novel": words("plot ending style dialogue first_chapter hero | title language"),
    "film": words("story music acting final_scene camera_work cast | opening trailer"),
    "concert": words("sound programme orchestra singer hall lighting | encore choir"),
    "tour": words("guide boat route lunch timetable bus | driver last_stop"),
}
APP_PARTS = "search box|calendar|login page|photo editor|start screen|new version|keyboard|sync button|map|inbox"
APP_GOOD = words("""
    saves_me_hours works_offline opens_in_a_second keeps_my_notes_safe does_what_it_promises
    | fixes_itself never_lets_me_down makes_my_day_easier
""")
APP_BAD = words("""
    crashes_every_day eats_my_battery deletes_my_files freezes_all_the_time shows_endless_adverts
    | wastes_my_time drives_me_mad leaks_my_password
""")
LEVELS = (
    words("awful dreadful terrible | horrible appalling atrocious"),
    words("poor weak disappointing | dull shabby unimpressive"),
    words("ordinary average passable | acceptable unremarkable mediocre"),
    words("good nice pleasant | decent enjoyable likeable"),
    words("superb excellent perfect | magnificent outstanding flawless"),
)


def quality(draw: Draw, good: bool, known: bool) -> str:
    """What follows "was" in a clause that finds something good, or bad."""
    same, other = (PRAISE, BLAME) if good else (BLAME, PRAISE)
    if draw.chance(0.4):
        return draw.phrase("[not|not really|never|hardly|far from|anything but] {word}", word=other.of(known))
    return draw.phrase("[really|truly|quite|simply||||] {word}", word=same.of(known))


def contrast(draw: Draw, main: str, aside: str) -> str:
    """A text whose main clause is `main`, with `aside` conceded."""
    return draw.say(
        "[although {aside}, {main}|{main}, even though {aside}|{aside}, but {main}"
        "|{main}, despite the fact that {aside}"
        "|{aside}. Still, {main}|it is true that {aside}. On the whole, however, {main}].",
        main=main,
        aside=aside,
    )


def review(draw: Draw, known: bool) -> Row:
    good = draw.chance(0.5)
    venue = draw.pick(list(ASPECTS))
    first, second = draw.some(ASPECTS[venue].of(known), 2)
    main = draw.phrase(f"the {first} [was|turned out to be|proved] {quality(draw, good, known)}")
    shape = draw.whole(1, 10)
    if shape <= 3:
        text = draw.say(
            "[{main}|about the {venue}: {main}|{main} [when we tried it|] {when}].",
            main=main,
            venue=venue,
            when=TIMES.of(known),
        )
    elif shape <= 7:
        text = contrast(draw, main, draw.phrase(f"the {second} was {quality(draw, not good, known)}"))
    else:
        hope = draw.pick((BLAME if good else PRAISE).of(known))
        text = draw.say(
            "[friends had told me|I had read|we expected|the leaflet said] that the {first} would be {hope}, "
            "[but|yet] it [was|turned out to be] {quality}.",
            first=first,
            hope=hope,
            quality=quality(draw, good, known),
        )
    return {"review": text, "verdict": LABELS[good]}


def app(draw: Draw, known: bool) -> Row:
    good = draw.chance(0.5)

    def remark(good: bool) -> str:
        if draw.chance(0.5):
            return draw.phrase("it {deed}", deed=(APP_GOOD if good else APP_BAD).of(known))
        return draw.phrase(f"the [{APP_PARTS}] is {quality(draw, good, known)}")

    if draw.chance(0.5):
        text = contrast(draw, remark(good), remark(not good))
    else:
        text = draw.say(f"[since the update|on my phone|after a month of use|to be honest], {remark(good)}.")
    return {"feedback": text, "verdict": LABELS[good]}


def rating(draw: Draw, known: bool) -> Row:
    venue = draw.pick(list(ASPECTS))
    first, second = draw.some(ASPECTS[venue].of(known), 2)
    main, aside = draw.whole(0, 4), draw.whole(0, 4)

    def part(aspect: str, level: int) -> str:
        return f"the {aspect} was {draw.pick(LEVELS[level].of(known))}"

    if draw.chance(0.4):
        place = f"[the {venue} as a whole|the whole {venue}|in short, the {venue}]"
        return {"review": draw.say(f"{place} was {{word}}.", word=LEVELS[main].of(known)), "stars": main + 1.0}
    text = contrast(draw, part(first, main), part(second, aside))
    return {"review": text, "stars": round(1 + 0.75 * main + 0.25 * aside, 2)}


VERDICT = {"kind": "choice", "field": "verdict", "choices": LABELS}
TASKS = [
    Source(
        name="reviews",
        cluster="sentiment",
        description="Is the verdict of a review of a restaurant, hotel, book, film, concert or tour good or bad?",
        inputs=["review"],
        output=VERDICT,
        metric="accuracy",
        row=review,
        train=20_000,
        noise=0.03,
    ),
    Source(
        name="app_feedback",
        cluster="sentiment",
        description="Is a user's remark about a program on the whole good or bad?",
        inputs=["feedback"],
        output=VERDICT,
        metric="accuracy",
        row=app,
        train=100,
        validation=100,
    ),
    Source(
        name="stars",
        cluster="sentiment",
        description="How many stars does the writer of the review give?",
        inputs=["review"],
        output={"kind": "number", "field": "stars", "range": [1, 5]},
        metric="pearson",
        row=rating,
        train=2_000,
        note="Main clause 0.75, conceded clause 0.25.",
    ),
]
