"""What is in a task's splits: counts, balance, lengths, duplicates, overlaps, and every bad row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

from multigraft.errors import UserError
from multigraft.settings import Record
from multigraft.tasks.outputs import Choice, Example, Number
from multigraft.tasks.task import Task

MOST_BAD_ROWS = 100  # listed per split; the rest are only counted


class Spread(Record):
    """Numbers of a split."""

    lowest: float
    mean: float
    deviation: float  # population standard deviation
    highest: float


class Lengths(Record):
    """Tokens per example, with the special tokens."""

    median: int
    percentile_95: int
    longest: int


class SplitReport(Record):
    """What one split holds."""

    split: str
    where: str
    rows: int  # good ones
    bad_rows: int
    bad: tuple[str, ...]  # file:line and message, at most MOST_BAD_ROWS
    labels: dict[str, int] | None  # rows per option; for options per row, by position of the answer
    numbers: Spread | None
    tokens: Lengths | None
    duplicates: int  # rows whose inputs stand earlier in the split
    conflicts: int  # duplicates with another answer; not counted for texts, which may have several
    blank_inputs: int  # rows with text in some of the inputs only
    repeated_options: int  # rows that offer the same option twice
    several_right: int  # rows of a choice with several right options, of which the first is the target


class Overlap(Record):
    """Rows of the second split whose inputs stand in the first."""

    first: str
    second: str
    rows: int


class TaskReport(Record):
    """What one task holds."""

    task: str
    clusters: tuple[str, ...]
    kind: str
    metric: str
    licence: str
    splits: tuple[SplitReport, ...]
    overlaps: tuple[Overlap, ...]

    @property
    def bad_rows(self) -> int:
        """Bad rows, and splits that cannot be read, in all splits."""
        return sum(split.bad_rows for split in self.splits)

    def warnings(self) -> list[str]:
        """Findings that do not stop a run, one line each."""
        found = []
        for split in self.splits:
            counts = {
                "rows that stand earlier in the split": split.duplicates,
                "rows with another answer than an equal row": split.conflicts,
                "rows with an empty input": split.blank_inputs,
                "rows with the same option twice": split.repeated_options,
                "rows with several right options, of which the first is the target": split.several_right,
            }
            found += [f"{split.where}: {what}: {count}" for what, count in counts.items() if count]
        found += [f"task {self.task}: rows of {o.second} that stand in {o.first} too: {o.rows}" for o in self.overlaps]
        return found


def inspect_task(task: Task, count_tokens: Callable[[Example], int] | None = None) -> TaskReport:
    """Read every split of `task` to its end and report what is there; `count_tokens` gives the length of an example.

    Two rows are equal when their inputs, and the options of the row, are the same but for case, white space and the
    order of the options. Nothing is raised for bad data: each fault is listed with file and line.
    """
    reports, keys = [], {}
    for split in task.split_names():
        report, keys[split] = _inspect_split(task, split, count_tokens)
        reports.append(report)
    shared = [(a, b, sum(keys[b][key] for key in keys[a].keys() & keys[b].keys())) for a, b in combinations(keys, 2)]
    return TaskReport(
        task=task.name,
        clusters=task.clusters,
        kind=task.output.kind,
        metric=task.metric,
        licence=task.licence,
        splits=tuple(reports),
        overlaps=tuple(Overlap(first=a, second=b, rows=rows) for a, b, rows in shared if rows),
    )


def _inspect_split(
    task: Task, split: str, count_tokens: Callable[[Example], int] | None
) -> tuple[SplitReport, Counter[tuple[str, ...]]]:
    bad, examples = _read(task, split)
    keys = [_key(task, example) for example in examples]
    seen = Counter(keys)
    return SplitReport(
        split=split,
        where=task.where(split),
        rows=len(examples),
        bad_rows=len(bad),
        bad=tuple(bad[:MOST_BAD_ROWS]),
        labels=_labels(task.output, examples) if isinstance(task.output, Choice) else None,
        numbers=_spread([float(e.target) for e in examples]) if isinstance(task.output, Number) and examples else None,
        tokens=_lengths(map(count_tokens, examples)) if count_tokens and examples else None,
        duplicates=len(examples) - len(seen),
        conflicts=_conflicts(keys, examples) if task.output.kind != "text" else 0,
        blank_inputs=sum(not all(map(str.strip, example.inputs)) for example in examples),
        repeated_options=sum(len(set(example.choices)) < len(example.choices) for example in examples),
        several_right=sum(bool(example.choices and example.references) for example in examples),
    ), seen


def _read(task: Task, split: str) -> tuple[list[str], list[Example]]:
    """Messages of all faults, and the good rows."""
    bad: list[str] = []
    examples: list[Example] = []
    try:
        examples.extend(example for _, example in task.scan(split, lambda error: bad.append(str(error))))
    except UserError as error:
        bad.append(str(error))
    if not examples and not bad:
        bad.append(f"{task.where(split)}: no rows")
    return bad, examples


def _key(task: Task, example: Example) -> tuple[str, ...]:
    options = sorted(example.choices) if isinstance(task.output, Choice) and task.output.choices_field else ()
    return tuple(" ".join(text.split()).casefold() for text in (*example.inputs, *options))


def _labels(output: Choice, examples: Sequence[Example]) -> dict[str, int]:
    counts = Counter(int(example.target) for example in examples)
    names = output.choices or tuple(f"option {n + 1}" for n in range(max(counts, default=-1) + 1))
    return {name: counts[index] for index, name in enumerate(names)}


def _conflicts(keys: Sequence[tuple[str, ...]], examples: Sequence[Example]) -> int:
    first: dict[tuple[str, ...], object] = {}
    conflicts = 0
    for key, example in zip(keys, examples, strict=True):
        answer = example.choices[int(example.target)] if example.choices else example.target
        conflicts += first.setdefault(key, answer) != answer
    return conflicts


def _spread(numbers: Sequence[float]) -> Spread:
    mean = math.fsum(numbers) / len(numbers)
    deviation = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / len(numbers))
    return Spread(lowest=min(numbers), mean=mean, deviation=deviation, highest=max(numbers))


def _lengths(counts: Iterable[int]) -> Lengths:
    ordered = sorted(counts)
    last = len(ordered) - 1
    return Lengths(median=ordered[last // 2], percentile_95=ordered[math.ceil(0.95 * last)], longest=ordered[-1])
