"""Errors that a user can mend, and how they are worded."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: one line that says what is wrong, where, and what to do.

    The command line prints the line and exits with code 2; a traceback is never shown for it.
    """

    def __init__(self, what: str, *, where: object = None, fix: str | None = None) -> None:
        self.what = what
        self.where = str(where) if where is not None else None
        self.fix = fix
        place = f"{self.where}: " if self.where else ""
        advice = f"; {fix}" if fix else ""
        super().__init__(f"{place}{what}{advice}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Advice for an unknown name: the nearest known one, or the list of all of them."""
    options = sorted(known)
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(options)}" if options else "none is known"


def unknown(kind: str, name: str, known: Iterable[str], where: object = None) -> UserError:
    """The error for a `name` that is not among the `known` ones of its `kind`."""
    return UserError(f"unknown {kind} {name!r}", where=where, fix=nearest(name, known))
