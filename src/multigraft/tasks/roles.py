"""Roles of columns that nobody has described: which are read, which is the answer, and which are left out.

Names count first, then what the columns hold: few different values, numbers or texts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multigraft.errors import UserError
from multigraft.tasks.columns import ANSWERS, BESIDE, EXPLANATIONS, MOST, OPTIONS, Column, Kind, as_text, is_missing
from multigraft.tasks.tables import Row

LOOKED_AT = 5000  # rows of a table
TOLD_BY = 2000  # rows from which it is told whether the texts say anything about a column
LEAST_WORDS = 2  # on average, of a text without a known name
NO_NUMBERS = 1 << 31  # base of answers that are the text of an option, and no number of one
OR_NOT = "take the file out of the folder, or say which it is with"
FEW, SHORT = "few different values", "short values"
SENTENCE = 3  # words, on average, from which on values are sentences rather than names

# Tiers of candidates for the answer: two for names (exact, or a word of several), two for long texts under such
# names, and those that only their values tell.
MAYBE, VALUES, NUMBERS, LAST_TEXT = 4, 5, 6, 7


@dataclass(frozen=True)
class Roles:
    """What each column is for."""

    inputs: tuple[str, ...]
    answer: str
    kind: Kind
    options: str | None  # the column with the options of each row
    base: int  # from where answers count the options of their row
    left_out: dict[str, str]  # column: why
    doubts: tuple[str, ...]  # what could be read in another way, and how to say so


@dataclass(frozen=True)
class Candidate:
    """A column that could be the answer, the likelier the lower its rank."""

    rank: tuple[int, int]  # tier, and place in it
    column: Column
    kind: Kind
    options: str | None = None
    base: int = 0


def choose(rows: Sequence[Row], text: Sequence[str], label: str | None, task: str, where: object) -> Roles:
    """The roles of the columns of `rows`; `text` and `label` name those that are known. Raises UserError."""
    if len(rows) > LOOKED_AT:
        rows = [rows[row] for row in sorted(random.Random(0).sample(range(len(rows)), LOOKED_AT))]
    columns = {name: Column(name, rows) for name in dict.fromkeys(name for row in rows for name in row)}
    for name in (*text, *([label] if label else [])):
        columns.setdefault(name, Column(name, rows))  # one that only another split has is empty here
    found = sorted(_candidates(columns, text, label), key=lambda candidate: candidate.rank)
    unnamed = [candidate.column for candidate in found if candidate.rank[0] == VALUES]
    if len(unnamed) > 1:
        told = {column.name: _told(column, columns) for column in unnamed}
        found.sort(key=lambda c: (c.rank[0], _is_sentence(c), -told.get(c.column.name, 0), c.rank[1]))
    answer = _checked(found, columns, label, task, where)
    taken = (answer.column.name, answer.options)
    left_out = {
        column.name: why
        for column in columns.values()
        if column.name not in (*taken, *text) and (why := "not named" if text else _why_not(column, answer.column))
    }
    inputs = tuple(text) or tuple(name for name in columns if name not in (*taken, *left_out))
    if not inputs:  # rather sentences that repeat themselves than none
        inputs = tuple(n for n, why in left_out.items() if why == FEW and columns[n].mean_words >= SENTENCE)
        left_out = {name: why for name, why in left_out.items() if name not in inputs}
    if not inputs:  # or a short text, such as a name
        short = [columns[name] for name, why in left_out.items() if why == SHORT]
        if not short:
            fix = f"{OR_NOT} --text {task}:COLUMN; the columns are {', '.join(columns)}"
            raise UserError("no column of texts", where=where, fix=fix)
        inputs = (max(short, key=lambda column: column.mean_words).name,)
        del left_out[inputs[0]]
    others = [c.column for c in found if c is not answer and c.rank[0] <= max(answer.rank[0], MAYBE - 1)]
    others = [c for c in others if c.name not in inputs and not _is_copy(c, answer.column)]
    doubts = [] if label else _other_answers(answer, [column.name for column in others], task)
    may_be_read = [c for c in columns.values() if left_out.get(c.name) in (FEW, SHORT) and not _is_beside(c)]
    if more := [column.name for column in may_be_read if column not in others]:
        flags = " ".join(f"--text {task}:{name}" for name in (*inputs, more[0]))
        doubts.append(f"{task}: {', '.join(map(repr, more[:3]))} could be read too: {flags}")
    return Roles(inputs, taken[0], answer.kind, answer.options, answer.base, left_out, tuple(doubts))


def pick(value: Any, options: Sequence[Any], base: int) -> str | None:
    """The option that an answer means: its text, its letter or its number counted from `base`. None for no option."""
    texts, text = [as_text(option) for option in options], as_text(value)
    if text in texts:
        return text
    if len(text) == 1 and "A" <= text.upper() <= "Z":
        place = ord(text.upper()) - ord("A")
    else:
        place = int(text) - base if text.isascii() and text.isdigit() and len(text) < 10 else -1
    return texts[place] if 0 <= place < len(texts) else None


def _candidates(columns: Mapping[str, Column], text: Sequence[str], label: str | None) -> Iterator[Candidate]:
    usable = [c for c in columns.values() if c.name not in text and not c.noise]
    texts = [c.name for c in usable if not c.is_list and c.kind == "text"]
    for number, column in enumerate([columns[label]] if label else usable):
        rank = column.answer_rank
        named = rank if rank is not None and rank < 200 else None
        options, base = _options(column, columns, (0, 1) if named is not None or label else (NO_NUMBERS,))
        kind: Kind = "choice" if options else "text" if column.is_list else column.kind
        if named is not None:
            tier = (named // 100 + (2 if kind == "text" else 0), named)
        elif label:
            tier = (0, 0)
        elif column.is_list or column.is_input_name or _is_beside(column):
            continue
        elif options or kind != "text" or column.numbers:
            tier = (MAYBE if rank is not None or options else VALUES if kind == "choice" else NUMBERS, -number)
        elif len(texts) > 1 and column.name == texts[-1]:
            tier = (LAST_TEXT, 0)
        else:
            continue
        yield Candidate(tier, column, kind, options, base)


def _is_sentence(candidate: Candidate) -> bool:
    """Are its values, as nothing says that they are answers, rather texts that repeat themselves?"""
    return candidate.rank[0] == VALUES and candidate.column.mean_words >= SENTENCE


def _told(column: Column, columns: Mapping[str, Column]) -> int:
    """How much better than chance the texts tell the values of a column, in steps of 5% so that chance decides little.

    That is the balanced accuracy of naive Bayes on each half of the rows, learned from the other half.
    """
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.metrics import recall_score
    from sklearn.naive_bayes import MultinomialNB

    texts = [c.name for c in columns.values() if not (c.noise or c.is_list or c.is_few or c.numbers)]
    rows = _with(column.rows, column.name)[:TOLD_BY]
    words = HashingVectorizer(n_features=1 << 14, alternate_sign=False).transform(
        " ".join(str(row.get(name, "")) for name in texts) for row in rows
    )
    values = [as_text(row[column.name]) for row in rows]
    guesses = list(values)
    for own, other in ((0, 1), (1, 0)):
        guesses[own::2] = MultinomialNB().fit(words[other::2], values[other::2]).predict(words[own::2])
    recall = recall_score(values, guesses, average="macro", zero_division=0)
    return round(20 * (recall - 1 / len(column.different)))


def _options(answer: Column, columns: Mapping[str, Column], bases: Sequence[int]) -> tuple[str | None, int]:
    """The column that lists the options of each row, if the answers are among them, and from where they count."""
    lists = [c for c in columns.values() if c.is_list and not answer.is_list and not answer.is_nested]
    for column in sorted(lists, key=lambda c: not any(word in OPTIONS for word in c.words)):
        both = [(row[answer.name], row[column.name]) for row in _with(answer.rows, answer.name, column.name)]
        for base in bases:
            fitting = sum(len(options) > 1 and pick(value, options, base) is not None for value, options in both)
            if both and fitting >= MOST * len(both):
                return column.name, base
    return None, 0


def _checked(
    found: Sequence[Candidate], columns: Mapping[str, Column], label: str | None, task: str, where: object
) -> Candidate:
    """The likeliest candidate. Raises UserError when it cannot be an answer, or there is none."""
    fix = f"{OR_NOT} --label {task}:COLUMN; the columns are {', '.join(columns)}"
    same = [c for c in columns.values() if c.name == label or c.words in {(word,) for word in ANSWERS}]
    same = [c for c in same if c.noise == "always the same"]
    if same and (label or not found or found[0].rank[0] >= MAYBE):
        raise UserError(f"column {same[0].name!r} holds {same[0].texts[0]!r} in every row", where=where, fix=fix)
    if not found:
        raise UserError("no column looks like the answer", where=where, fix=fix)
    best = found[0]
    if not best.column.values or best.column.is_nested:
        raise UserError(f"column {label!r} is {best.column.noise} and can be no answer", where=where, fix=fix)
    if best.column.is_list and not best.options:
        several = [as_text(v) for value in best.column.values for v in value]
        if len(several) >= 4 * len(set(several)):
            what = f"column {best.column.name!r} has several labels in a row; an answer is one label"
            raise UserError(what, where=where, fix=fix)
    if best.kind == "choice" and not label and best.column.numbers and not best.options:
        # Of two spellings of one answer, such as 0 and "negative", the words say more.
        words = [c for c in found if c.kind == "choice" and not c.column.numbers and _is_copy(c.column, best.column)]
        return words[0] if words else best
    return best


def _with(rows: Sequence[Row], *names: str) -> list[Row]:
    """The rows that have a value in each of the columns."""
    return [row for row in rows if not any(is_missing(row.get(name)) for name in names)]


def _is_beside(column: Column) -> bool:
    return bool({*column.words} & {*BESIDE, *EXPLANATIONS})


def _is_copy(column: Column, answer: Column) -> bool:
    """Whether each value stands beside one value of the answer, and the other way round."""
    if not (column.is_few and answer.is_few):
        return False
    pairs = {
        (as_text(row[column.name]), as_text(row[answer.name])) for row in _with(column.rows, column.name, answer.name)
    }
    return len(pairs) == len(column.different) == len(answer.different)


def _why_not(column: Column, answer: Column) -> str | None:
    """Why a column is no input, if so."""
    if column.noise or column.is_list:
        return column.noise or "lists"
    if {*column.words} & {*EXPLANATIONS}:
        return "explains the answer"
    if _is_copy(column, answer):
        return f"says the same as {answer.name}"
    if column.numbers:
        return "numbers"
    if column.is_input_name:
        return None
    return FEW if column.is_few else SHORT if column.mean_words < LEAST_WORDS else None


def _other_answers(answer: Candidate, others: Sequence[str], task: str) -> list[str]:
    if answer.rank[0] < MAYBE and not others:
        return []
    how = "by its name" if answer.rank[0] < MAYBE else "by its values alone"
    names = f"; {', '.join(map(repr, others[:3]))} could be it too" if others else ""
    which = others[0] if others else "COLUMN"
    return [f"{task}: {answer.column.name!r} is taken as the answer {how}{names}: --label {task}:{which}"]
