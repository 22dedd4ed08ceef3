"""Drawing words and sentences, with the same result on every machine and Python version."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


class Draw:
    """A stream of random choices that its name determines.

    Only `Random.random` is used: it alone is promised to give the same numbers in every Python version.
    """

    def __init__(self, name: str) -> None:
        self._next = random.Random(name).random

    def chance(self, share: float) -> bool:
        """True in the given share of the calls."""
        return self._next() < share

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self._next() * (high - low + 1))

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[int(self._next() * len(options))]

    def some(self, options: Sequence[T], count: int) -> list[T]:
        """`count` different options, in random order."""
        left = list(options)
        return [left.pop(int(self._next() * len(left))) for _ in range(count)]

    def say(self, template: str, **slots: str | Sequence[str]) -> str:
        """A sentence from a template, its first letter capital.

        `[a|b|]` becomes one of its parts (brackets may nest); `{slot}` becomes the slot's text, or one of its
        texts; `a(n)` becomes the article that the next word needs.
        """
        return sentence(self.phrase(template, **slots))

    def phrase(self, template: str, **slots: str | Sequence[str]) -> str:
        """Like `say`, but neither the first letter nor the articles are touched: a part of a longer sentence."""

        def slot(match: re.Match[str]) -> str:
            value = slots[match[1]]
            return value if isinstance(value, str) else self.pick(value)

        while "[" in template:
            template = _CHOICE.sub(lambda match: self.pick(match[1].split("|")), template)
        return _SLOT.sub(slot, template)


def sentence(text: str) -> str:
    """Single spaces, none before a stop, `a(n)` resolved, first letters of sentences capital."""
    text = re.sub(r"\s+([.,?!;:])", r"\1", " ".join(text.split()))
    text = re.sub(r"\ba\(n\) (\w)", lambda m: f"{'an' if m[1].lower() in 'aeiou' else 'a'} {m[1]}", text)
    return re.sub(r"(^|[.?!] )([a-z])", lambda m: m[1] + m[2].upper(), text)


def listed(items: Sequence[str]) -> str:
    """`a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def plural(noun: str) -> str:
    """The plural of a regular noun, or of one that ends in "man"."""
    if noun.endswith("man"):
        return noun[:-3] + "men"
    if noun.endswith(("s", "x", "ch", "sh", "o")):
        return noun + "es"
    return noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeiou" else noun + "s"
