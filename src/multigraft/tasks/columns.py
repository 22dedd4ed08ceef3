"""Columns that nobody has described: what their names (English ones) and their values look like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from multigraft.tasks.tables import Row, number_in

Kind = Literal["choice", "number", "text"]

MOST_OPTIONS = 200
LEAST_PER_OPTION = 3  # rows, on average
MOST_WHOLE_NUMBERS = 20  # with more different ones they are a number, not options
LONGEST_OPTION = 5  # words, on average
MOST = 0.95  # share of rows that stands for all of them
FAR_OUT = 100  # a range so many times that of the middle half belongs to no scale

ANSWERS = (
    *("label", "class", "category", "sentiment", "emotion", "intent", "stance", "polarity", "verdict", "answer"),
    *(
        "correct",
        "gold",
        "target",
        "y",
        "output",
        "response",
        "completion",
        "summary",
        "highlights",
        "translation",
        "reply",
    ),
    *("score", "rating", "star", "similarity", "grade"),
)  # the likeliest first
MAYBE = ("topic", "type", "genre", "tag", "level", "difficulty", "is", "has")
INPUTS = (
    *("text", "sentence", "premise", "hypothesis", "question", "context", "passage", "document", "article", "query"),
    *("review", "comment", "tweet", "message", "body", "content", "dialogue", "prompt", "instruction", "word"),
    *("phrase", "aspect", "claim", "headline", "abstract", "utterance", "statement", "paragraph", "story", "span"),
    *("title", "post", "email"),
)
OPTIONS = ("choice", "option", "ending", "candidate", "alternative")
IDENTIFIERS = ("id", "ids", "idx", "index", "guid", "uid", "uuid", "unnamed")
EXPLANATIONS = ("explanation", "rationale", "reasoning", "solution")
# What stands beside an answer or a text without being one.
BESIDE = (
    *("confidence", "count", "time", "date", "num", "vote", "prob", "length", "len", "start", "end", "position"),
    *("offset", "lang", "language", "split", "set", "fold", "source", "year", "month", "author", "user", "username"),
    *("domain", "country", "annotator", "worker"),
)

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")  # a kana or Han is a word
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+")
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}.{0,20}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}.{0,15}")
_CODE = re.compile(r"(?=.*\d)[!-~]+", re.DOTALL)


def as_text(value: Any) -> str:
    """A single value as the text of an option or an input: 1.0 as 1, True as true."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def is_missing(value: Any) -> bool:
    """Whether a value says that there is none."""
    if isinstance(value, str):
        return value.strip().lower() in ("", "nan", "null", "n/a")
    return value is None or value == [] or value != value


class Column:
    """The values of one column in some of the rows, and what they look like."""

    def __init__(self, name: str, rows: Sequence[Row]) -> None:
        self.name, self.rows = name, rows
        self.values = [row[name] for row in rows if name in row and not is_missing(row[name])]
        spelt = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
        words = [word for word in re.findall(r"[^\W\d_]+", spelt) if len(word) > 1 or spelt == word]
        self.words = tuple(word if word in IDENTIFIERS else _singular(word) for word in words)

    @cached_property
    def is_list(self) -> bool:
        """Whether it holds lists of plain values."""
        plain = (v for value in self.values for v in (value if isinstance(value, list) else [None]))
        return bool(self.values) and all(isinstance(value, str | int | float) for value in plain)

    @cached_property
    def is_nested(self) -> bool:
        return not self.is_list and any(isinstance(value, list | dict | bytes) for value in self.values)

    @cached_property
    def texts(self) -> list[str]:
        return [as_text(value) for value in self.values]

    @cached_property
    def different(self) -> frozenset[str]:
        return frozenset(self.texts)

    @cached_property
    def numbers(self) -> list[float]:
        """The numbers in order, where all values are numbers."""
        numbers = [number for value in self.values if (number := number_in(value)) is not None]
        return sorted(numbers) if len(numbers) == len(self.values) else []

    @cached_property
    def mean_words(self) -> float:
        return sum(len(_WORD.findall(text)) for text in self.texts) / max(1, len(self.texts))

    @cached_property
    def is_few(self) -> bool:
        """Whether the values can be options."""
        if self.is_list or self.is_nested or not 2 <= len(self.different) <= MOST_OPTIONS:
            return False
        if self.numbers:
            whole = all(number.is_integer() for number in self.numbers)
            if not whole or len(self.different) > MOST_WHOLE_NUMBERS:
                return False
        return len(self.texts) >= LEAST_PER_OPTION * len(self.different) and self.mean_words <= LONGEST_OPTION

    @cached_property
    def kind(self) -> Kind:
        """The kind of output that the column would be."""
        if self.is_few:
            return "choice"
        # Answers such as amounts, a few of them huge, are written out; a head that tells a number needs a scale.
        n = len(self.numbers)
        if n and self.numbers[-1] - self.numbers[0] <= FAR_OUT * (self.numbers[3 * n // 4] - self.numbers[n // 4]):
            return "number"
        return "text"

    @cached_property
    def is_input_name(self) -> bool:
        return bool(self.words) and self.words[-1] in INPUTS and self.answer_rank is None

    @cached_property
    def answer_rank(self) -> int | None:
        """How likely the name is that of an answer: 0 is likeliest, and None is not."""
        if set(self.words) & {*BESIDE, *EXPLANATIONS}:
            return None
        ranks = [ANSWERS.index(word) + (0 if len(self.words) == 1 else 100) for word in self.words if word in ANSWERS]
        maybe = [
            200 for word in self.words if word in MAYBE and (word not in ("is", "has") or len(self.different) == 2)
        ]
        return min([*ranks, *maybe], default=None)

    @cached_property
    def noise(self) -> str | None:
        """Why the column can be neither input nor answer, if so."""
        if not self.name.strip():
            return "no name"
        if not self.values:
            return "empty"
        if self.is_nested:
            return "nested"
        if self.is_list:
            return None
        if len(self.different) == 1:
            return "always the same"
        for form, what in ((_ADDRESS, "addresses"), (_DATE, "dates")):
            if sum(bool(form.fullmatch(text)) for text in self.texts) >= MOST * len(self.texts):
                return what
        unique = len(self.different) == len(self.texts)
        counted = unique and self.numbers and self.numbers[-1] - self.numbers[0] == len(self.numbers) - 1
        codes = unique and not self.numbers and all(map(_CODE.fullmatch, self.texts))
        named = any(word in IDENTIFIERS for word in self.words)
        return "identifiers" if named or ((counted or codes) and self.answer_rank is None) else None


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and word[:-1] in {*ANSWERS, *OPTIONS, *INPUTS, *BESIDE} else word
