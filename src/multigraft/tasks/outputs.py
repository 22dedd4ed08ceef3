"""What a task asks for: a choice, a number or a text; and how the answer of a row is read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from multigraft.errors import nearest
from multigraft.settings import Record

Row = Mapping[str, Any]
Name = Annotated[str, Field(min_length=1)]


class Fault(ValueError):
    """A row that does not fit its task: the message, to which the caller adds file and line."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row as every later part sees it."""

    inputs: tuple[str, ...]  # field texts, in the task's order
    choices: tuple[str, ...]  # C options, fixed or of this row; empty for a number or a text
    target: int | float | str  # index of the right choice, the number, or the text
    references: tuple[str, ...] = ()  # all accepted texts, the target's first; empty: only the target


def _clip(text: str) -> str:
    """`text` for an error message: one line, at most 60 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "..."


def _short(value: object) -> str:
    return _clip(repr(value))


def value_in(row: Row, name: str) -> Any:
    """The value of a field. Raises Fault when it is missing."""
    if name not in row:
        raise Fault(f"field {name!r} is missing; {nearest(name, map(str, row))}")
    return row[name]


def _several(value: Any, name: str) -> list[Any]:
    """The accepted answers in the field `name`: those of a list, or the one. Raises Fault for an empty list."""
    if value == []:
        raise Fault(f"field {name!r} is an empty list; give an answer")
    return value if isinstance(value, list) else [value]


def text_in(row: Row, name: str) -> str:
    """The text of a field. Raises Fault for another type and for characters that no tokenizer takes."""
    return _checked_text(value_in(row, name), f"field {name!r}")


def _checked_text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise Fault(f"{what} must be text, got {_short(value)}")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise Fault(f"{what} holds half a surrogate pair, which is not text")
    if "\0" in value:
        raise Fault(f"{what} holds a NUL character")
    return value


class Choice(Record):
    """One of several options: the same `choices` for every row, or those in the row's `choices_field`.

    A row gives the answer in `field`, as the text of an option or as its index, counted from 0; or a list of several
    right ones, of which the first is the target.
    """

    kind: Literal["choice"] = "choice"
    field: Name
    choices: tuple[str, ...] | None = None
    choices_field: Name | None = None

    @field_validator("choices", mode="before")
    @classmethod
    def _only_texts(cls, value: Any) -> Any:
        for option in value if isinstance(value, list | tuple) else ():
            if not isinstance(option, str):
                raise ValueError(f"option {option!r} is not text; put it in quotes")
        return value

    @model_validator(mode="after")
    def _one_kind_of_options(self) -> Choice:
        if (self.choices is None) == (self.choices_field is None):
            raise ValueError("a choice needs either 'choices' or 'choices_field', and not both")
        if self.choices is not None:
            if len(self.choices) < 2 or not all(option.strip() for option in self.choices):
                raise ValueError("'choices' needs at least two options, none of them empty")
            if len(set(self.choices)) < len(self.choices):
                raise ValueError("'choices' has the same option twice")
        return self

    def read(self, row: Row) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
        """The options of the row (C texts), the index of the right one, and all right ones if several. Raises Fault."""
        options = self.choices or self._options_in(row)
        answers = _several(value_in(row, self.field), self.field)
        right = list(dict.fromkeys(self._index(answer, options) for answer in answers))
        return options, right[0], tuple(options[index] for index in right) if len(right) > 1 else ()

    def _index(self, value: Any, options: tuple[str, ...]) -> int:
        if isinstance(value, str):
            if value not in options:
                raise Fault(f"label {_short(value)} is not among the options; {nearest(value, map(_clip, options))}")
            return options.index(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Fault(f"field {self.field!r} must be an option or its index, got {_short(value)}")
        if not 0 <= value < len(options):
            raise Fault(f"label {value} is outside the {len(options)} options, which are counted from 0")
        if str(value) in options and options[value] != str(value):
            raise Fault(f"label {value} is both an option and the index of {_short(options[value])}; put it in quotes")
        return value

    def _options_in(self, row: Row) -> tuple[str, ...]:
        name = str(self.choices_field)
        value = value_in(row, name)
        if not isinstance(value, list) or len(value) < 2:
            raise Fault(f"field {name!r} must be a list of at least two options, got {_short(value)}")
        options = tuple(_checked_text(option, f"each option in {name!r}") for option in value)
        if not all(option.strip() for option in options):
            raise Fault(f"field {name!r} holds an empty option")
        return options

    def from_cells(self, row: dict[str, str]) -> dict[str, Any]:
        """A row of a format that knows only text: options as a JSON list, an index as digits."""
        typed: dict[str, Any] = dict(row)
        if self.choices_field in row:
            try:
                typed[self.choices_field] = json.loads(row[self.choices_field])
            except (ValueError, RecursionError):
                raise Fault(
                    f"field {self.choices_field!r} must be a JSON list, got {_short(typed[self.choices_field])}"
                ) from None
        label = row.get(self.field, "")
        options = self.choices or typed.get(str(self.choices_field))
        if (
            label.isascii()
            and label.isdigit()
            and len(label) < 10
            and isinstance(options, list | tuple)
            and label not in options
        ):
            typed[self.field] = int(label)
        return typed


class Number(Record):
    """A number in a closed range."""

    kind: Literal["number"] = "number"
    field: Name
    range: tuple[float, float]

    @model_validator(mode="after")
    def _a_range(self) -> Number:
        if not (all(map(math.isfinite, self.range)) and self.range[0] < self.range[1]):
            raise ValueError("'range' must be two finite numbers, the lower one first")
        return self

    def read(self, row: Row) -> tuple[tuple[str, ...], float, tuple[str, ...]]:
        """No options, the number, no references. Raises Fault."""
        value = value_in(row, self.field)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Fault(f"field {self.field!r} must be a number, got {_short(value)}")
        low, high = self.range
        if not low <= value <= high:
            raise Fault(f"number {_short(value)} is outside the range {low:g} to {high:g}")
        return (), float(value), ()

    def from_cells(self, row: dict[str, str]) -> dict[str, Any]:
        """A row of a format that knows only text, with the number read."""
        try:
            return {**row, self.field: float(row[self.field])}
        except (KeyError, ValueError):
            return dict(row)


class Text(Record):
    """A text to write: a row gives it in `field`, or a list of accepted ones, of which the first is the target."""

    kind: Literal["text"] = "text"
    field: Name

    def read(self, row: Row) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
        """No options, the text, and all accepted texts if several. Raises Fault."""
        values = _several(value_in(row, self.field), self.field)
        texts = tuple(dict.fromkeys(_checked_text(value, f"field {self.field!r}") for value in values))
        if not all(map(str.strip, texts)):
            raise Fault(f"field {self.field!r} is empty")
        return (), texts[0], texts if len(texts) > 1 else ()

    def from_cells(self, row: dict[str, str]) -> dict[str, Any]:
        """A row of a format that knows only text, as it is."""
        return dict(row)


Output = Annotated[Choice | Number | Text, Field(discriminator="kind")]
