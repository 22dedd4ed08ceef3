"""Word lists shared by the tasks. Each has a part that training rows use and a part held out for evaluation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """A word list: `of(True)` is its training part, `of(False)` all of it."""

    known: tuple[str, ...]
    held: tuple[str, ...]

    def of(self, known: bool) -> tuple[str, ...]:
        return self.known if known else self.known + self.held


def words(text: str) -> Words:
    """Words from a text: blanks part them, `_` stands for a blank in a word, `|` starts the held-out part."""
    known, held = (tuple(word.replace("_", " ") for word in part.split()) for part in text.split("|"))
    return Words(known, held)


@dataclass(frozen=True)
class Verb:
    """A verb: base form, past tense, past participle."""

    base: str
    past: str
    done: str


def verbs(text: str) -> list[list[Verb]]:
    """Groups of verbs of one meaning from lines of `base` (regular) or `base/past/participle`."""
    return [[_verb(word) for word in line.split()] for line in text.strip().splitlines()]


def _verb(text: str) -> Verb:
    if "/" in text:
        return Verb(*text.split("/"))
    past = text + ("d" if text.endswith("e") else "ed")
    return Verb(text, past, past)


PRAISE = words("""
    excellent wonderful delightful charming pleasant splendid lovely impressive reliable thoughtful enjoyable elegant
    brilliant remarkable satisfying | superb marvellous outstanding terrific fabulous admirable refreshing flawless
    magnificent fantastic amazing exquisite
""")
BLAME = words("""
    awful dreadful terrible disappointing dull clumsy unpleasant shabby careless boring annoying depressing sloppy
    unreliable painful | horrible appalling atrocious miserable lousy tedious hideous pathetic frustrating shoddy
    disgusting horrendous
""")
PEOPLE = words("""
    nurse pilot baker teacher farmer lawyer sailor painter plumber gardener singer tailor butcher dentist guard
    student carpenter neighbour | chemist waiter fisherman journalist librarian mechanic actor judge professor
    soldier clerk hunter
""")
NAMES = words("""
    Anna Boris Clara David Elena Felix Greta Hugo Irene Jonas Karen Louis Maria Nina Oscar Paula |
    Quentin Rosa Simon Teresa Victor Wendy Agnes Bruno Celia Dennis
""")
PLACES = words("""
    in_the_market at_the_station in_the_garden near_the_harbour behind_the_school in_the_library at_the_airport
    by_the_river in_the_cellar on_the_square outside_the_museum in_the_village | at_the_bakery in_the_forest
    near_the_bridge at_the_hospital on_the_beach in_the_attic beside_the_church in_the_workshop
""")
TIMES = words("""
    on_Monday on_Friday last_week in_March in_October at_noon before_breakfast yesterday two_days_ago this_morning
    in_the_evening last_summer | on_Sunday in_January at_midnight after_lunch last_winter an_hour_ago at_dawn
    on_Thursday
""")
COLOURS = words("red blue green yellow white small heavy old | black grey purple large broken dusty")

# Names of things by kind; a kind's name is true of all its things.
KINDS = {
    "dog": words("spaniel poodle terrier greyhound | beagle dachshund labrador"),
    "bird": words("robin sparrow parrot owl | canary pigeon falcon"),
    "fruit": words("pear plum cherry banana | peach mango melon"),
    "vegetable": words("carrot onion cabbage turnip | potato leek cucumber"),
    "tool": words("hammer chisel spade wrench | screwdriver saw drill"),
    "instrument": words("violin flute trumpet drum | piano cello guitar"),
    "vehicle": words("lorry bus tractor van | motorcycle taxi tram"),
    "flower": words("tulip rose daisy lily | orchid sunflower daffodil"),
    "garment": words("shirt coat skirt jacket | sweater dress scarf"),
    "fish": words("trout salmon herring cod | tuna carp eel"),
}

# What a person does to a thing, and what one person does to another: a line is one meaning.
DEEDS = verbs("""
buy/bought/bought purchase acquire
repair mend fix
find/found/found discover
hide/hid/hidden conceal
steal/stole/stolen pinch
clean wash
draw/drew/drawn sketch
inspect examine
lose/lost/lost mislay/mislaid/mislaid
choose/chose/chosen select
bring/brought/brought fetch
destroy ruin
""")
MEETINGS = verbs("""
scold reprimand
greet welcome
help assist
phone call
warn alert
teach/taught/taught instruct
hire employ
praise applaud
insult offend
rescue save
dismiss sack
follow pursue
deceive trick
comfort console
""")


def kinds(known: bool) -> dict[str, tuple[str, ...]]:
    """The things of each kind."""
    return {kind: things.of(known) for kind, things in KINDS.items()}
