"""What a pattern can do with values: every operation that makes or looks at one, paid out of a budget.

Nothing here draws at random, and nothing takes longer or makes more than the budget of its rendering allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from jinja2 import Undefined, pass_context
from jinja2.runtime import Context

from multigraft.errors import UserError, nearest

BUDGET = 2_000_000  # characters that one rendering may make or look at
STEP = 20  # characters that an item of a list, a number, or a construct in a turn of a loop stands for
LONGEST_RANGE = 1_000
LARGEST = 10**15  # of whole numbers, either sign
PURSE = "budget of this rendering"  # no pattern can spell this name


class PatternError(UserError):
    """A pattern that cannot be used, or not with these values; `rule` is the kind of fault."""

    def __init__(self, rule: str, what: str, *, where: object = None, fix: str | None = None) -> None:
        super().__init__(what, where=where, fix=fix)
        self.rule, self.fix = rule, fix

    def at(self, where: object) -> PatternError:
        """The same fault, found at `where`."""
        place = f"{where}, {self.where}" if self.where else where
        return PatternError(self.rule, self.what, where=place, fix=self.fix)


def missing(names: frozenset[str], known: Mapping[str, Any] | Sequence[str]) -> PatternError:
    """The error for names that a pattern uses and nobody gives."""
    name = min(names)
    return PatternError("missing field", f"there is no field {name!r}", fix=nearest(name, known))


class Purse:
    """What a rendering may still spend."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = BUDGET

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise PatternError("unsafe", "takes too long or makes too much text", fix="simplify the loops or the text")

    def pay(self, value: Any) -> None:
        """Spend the size of `value`, that of what is in it included."""
        if isinstance(value, str):
            self.spend(len(value) + 1)
            return
        waiting = [value]
        while waiting:
            inner = waiting.pop()
            if isinstance(inner, str):
                self.spend(len(inner) + STEP)
            elif isinstance(inner, list | tuple | dict):
                self.spend((len(inner) + 1) * STEP)
                waiting.extend(inner)
                if isinstance(inner, dict):
                    waiting.extend(inner.values())
            elif isinstance(inner, int) and abs(inner) > LARGEST:
                raise PatternError("unsafe", f"makes a number beyond {LARGEST:,}")
            elif inner is None or isinstance(inner, int | float):
                self.spend(STEP)
            else:
                raise TypeError(f"{_kind(inner)} is no value of a pattern")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    raise TypeError(f"{_kind(value)} is not text" + ("; join it" if isinstance(value, list | tuple) else ""))


def _kind(value: Any) -> str:
    """What `value` is, for a message."""
    kinds: dict[Any, str] = {
        type(None): "nothing", Undefined: "an undefined value", str: "a text", (int, float): "a number",
        (list, tuple): "a list", dict: "a mapping",
    }  # fmt: skip
    return next((words for kind, words in kinds.items() if isinstance(value, kind)), f"a {type(value).__name__}")


def _joined(values: Any, between: str = "") -> str:
    parts = [_text(value) for value in values]
    if sum(map(len, parts)) + len(between) * len(parts) > BUDGET:
        raise PatternError("unsafe", "makes too much text")
    return between.join(parts)


def _replaced(text: str, old: str, new: str, count: int = -1) -> str:
    if len(text) + str.count(text, old) * len(new) > BUDGET:
        raise PatternError("unsafe", "makes too much text")
    return str.replace(text, old, new, count)


def _calculation(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`function` of two numbers, and of nothing else: a text times a number could be of any length."""

    @wraps(function)
    def calculate(left: Any, right: Any) -> Any:
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            raise TypeError(f"calculates with {_kind(left)} and {_kind(right)}, where numbers are needed")
        return function(left, right)

    return calculate


_sum_of_numbers = _calculation(lambda left, right: left + right)


def _sum(left: Any, right: Any) -> Any:
    alike = (isinstance(left, str) and isinstance(right, str)) or (isinstance(left, list) and isinstance(right, list))
    return left + right if alike else _sum_of_numbers(left, right)


def _rounded(value: Any, precision: int = 0) -> float:
    if not isinstance(value, int | float) or precision not in range(16):
        raise TypeError("only numbers are rounded, to 0 to 15 digits")
    return float(round(value, precision))


def _range(*bounds: int) -> list[int]:
    numbers = range(*bounds)
    if len(numbers) > LONGEST_RANGE:
        raise PatternError("unsafe", f"a range of {len(numbers):,} numbers; at most {LONGEST_RANGE:,} are allowed")
    return list(numbers)


def _item(value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        if key in value:
            return value[key]
        raise PatternError("fails", f"there is no item {key!r}", fix=nearest(str(key), map(str, value)))
    if isinstance(value, str | list | tuple) and isinstance(key, int):
        if -len(value) <= key < len(value):
            return value[key]
        raise PatternError("fails", f"there is no item {key}; the items are counted from 0 to {len(value) - 1}")
    raise PatternError("fails", f"{_kind(value)} has no {key!r}")


def _index(value: Any, item: Any) -> int:
    if not isinstance(value, str | list | tuple):
        raise TypeError(f"{_kind(value)} has no index")
    return value.index(item)


# Keys say how an operation is written. These look at all of their operands, and pay for them and for the result.
_THOROUGH: dict[str, Callable[..., Any]] = {
    "+": _sum,
    "-": _calculation(lambda left, right: left - right),
    "*": _calculation(lambda left, right: left * right),
    "/": _calculation(lambda left, right: left / right),
    "//": _calculation(lambda left, right: left // right),
    "%": _calculation(lambda left, right: left % right),
    "~": _joined,
    "zip()": lambda *lists: [list(row) for row in zip(*lists)],
    "|capitalize": lambda text: _text(text).capitalize(),
    "|float": float,
    "|int": int,
    "|join": lambda values, d="": _joined(values, _text(d)),
    "|list": list,
    "|lower": lambda text: _text(text).lower(),
    "|replace": lambda text, old, new, count=-1: _replaced(_text(text), _text(old), _text(new), count),
    "|round": _rounded,
    "|string": _text,
    "|trim": lambda text: _text(text).strip(),
    "|upper": lambda text: _text(text).upper(),
    ".capitalize": str.capitalize,
    ".endswith": str.endswith,
    ".index": _index,
    ".join": lambda between, values: _joined(values, _text(between)),
    ".lower": str.lower,
    ".replace": lambda text, old, new, count=-1: _replaced(text, old, new, count),
    ".split": str.split,
    ".startswith": str.startswith,
    ".strip": str.strip,
    ".upper": str.upper,
}
# These take the same time however long their operands are, and pay for the result only.
_QUICK: dict[str, Callable[..., Any]] = {
    "[]": _item,
    "[:]": lambda value, start, stop, step: value[start:stop:step],
    "range()": _range,
    "|count": len,
    "|first": lambda values: _item(values, 0),
    "|last": lambda values: _item(values, -1),
    "|length": len,
    "value": lambda value: value,
}


def _paid(function: Callable[..., Any], thorough: bool) -> Callable[..., Any]:
    @pass_context
    def operation(context: Context, *operands: Any, **named: Any) -> Any:
        purse: Purse = context.parent[PURSE]
        if thorough:
            purse.pay([*operands, *named.values()])
        result = function(*operands, **named)
        purse.pay(result)
        return result

    return operation


@pass_context
def _each(context: Context, values: Any, weight: int) -> list[Any]:
    """The values of a loop, each turn of which costs `weight`."""
    if not isinstance(values, str | list | tuple | dict):
        str(values)
        raise TypeError(f"{_kind(values)} cannot be looped over")
    context.parent[PURSE].spend(len(values) * weight)
    return list(values)


@pass_context
def shown(context: Context, value: Any) -> str:
    """The text of a value in the output."""
    text = _text(value)
    context.parent[PURSE].spend(len(text) + 1)
    return text


# By key; to be registered as Jinja's filters.
OPERATIONS: dict[str, Callable[..., Any]] = {
    **{key: _paid(function, thorough=True) for key, function in _THOROUGH.items()},
    **{key: _paid(function, thorough=False) for key, function in _QUICK.items()},
    "each": _each,
}
