"""One task from the tables of its splits: what is asked, the rows that can be used, and the splits that are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multigraft.errors import UserError
from multigraft.settings import build
from multigraft.tasks.columns import as_text, is_missing
from multigraft.tasks.division import divide, likeness
from multigraft.tasks.outputs import Choice, Fault, Text, text_in
from multigraft.tasks.roles import Roles, choose, pick
from multigraft.tasks.tables import SPLITS, Row, Table, check_share, number_in
from multigraft.tasks.task import Metric, Task

LEAST_ROWS = 10  # with different inputs
SHARES = {"validation": 0.1, "test": 0.2}
MOST_HELD_OUT = 2000  # rows of a split that is cut from another
MOST_BINS = 10  # of numbers, each shared out evenly
UNBALANCED = 0.8  # share of the most frequent label
WHOLE, BY_WORDS = 2, 6  # mean words of answers that are compared whole, and by their words; longer ones by rougeL


@dataclass(frozen=True)
class Inferred:
    """A task that was inferred from tables, with its rows."""

    task: Task
    rows: dict[str, list[Row]]  # by split
    files: tuple[Path, ...]
    cut: tuple[str, ...]  # splits that no file had: cut from the rows for training
    left_out: dict[str, str]  # column: why
    unlabelled: int  # rows without an answer, left out
    unusable: tuple[str, ...]  # a message for each other row that is left out
    duplicates: int  # rows with the inputs and the answer of an earlier row; they are kept, in one split
    doubts: tuple[str, ...]  # what could be meant in another way, and how to say so

    def summary(self) -> dict[str, Any]:
        """Everything but the rows, as plain values."""
        return {
            **self.task.model_dump(
                mode="json", include={"name", "cluster", "inputs", "output", "metric"}, exclude_unset=True
            ),
            "rows": {split: len(rows) for split, rows in self.rows.items()},
            "files": [str(path) for path in self.files],
            "cut": list(self.cut),
            "left_out": self.left_out,
            "unlabelled": self.unlabelled,
            "unusable": list(self.unusable),
            "duplicates": self.duplicates,
            "doubts": list(self.doubts),
        }


def infer_task(name: str, tables: Mapping[str, Table], text: Sequence[str], label: str | None) -> Inferred:
    """The task of the tables of its splits; `text` and `label` name columns if known. Raises UserError."""
    main = "train" if "train" in tables else max(tables, key=lambda split: len(tables[split].rows))
    if not tables[main].rows:
        raise UserError("no rows", where=tables[main].path, fix="fill it, or take it out of the folder")
    roles = choose(tables[main].rows, text, label, name, tables[main].path)
    doubts, unlabelled = list(roles.doubts), 0
    unusable = [fault for table in tables.values() for fault in table.faults]
    rows: dict[str, list[Row]] = {}
    for split, table in tables.items():
        rows[split], faults, without = _usable(table, roles)
        unusable += faults
        unlabelled += without
    for split in [split for split in rows if split != main and not _is_answered(rows[split], rows[main], roles)]:
        doubts.append(f"{name}: {tables[split].path.name} is left out: no row has an answer as in {main}")
        del rows[split]
    task, note = _describe(name, roles, rows, tables)
    keys = {split: [likeness([row[field] for field in roles.inputs]) for row in rows[split]] for split in rows}
    different = set(keys[main])
    if len(different) < LEAST_ROWS:
        what = f"{len(different)} different rows with {', '.join(roles.inputs)} and {roles.answer}"
        raise UserError(what, where=tables[main].path, fix=f"{LEAST_ROWS} are the least")
    for split in rows:
        if split != main and (again := sum(key in different for key in keys[split])):
            doubts.append(f"{name}: {again} rows of {split} stand in {main} too")
    duplicates = sum(_repeated(own, roles) for own in rows.values())
    cut = tuple(split for split in SPLITS if split not in rows)
    if cut:
        rows |= _divided(rows[main], keys[main], (main, *cut), roles)
        if empty := [split for split in (main, *cut) if not rows[split]]:
            what = f"too few different rows to make splits: none is left for {empty[0]}"
            raise UserError(what, where=tables[main].path, fix="give it as a file of its own")
    return Inferred(
        task=task,
        rows={split: rows[split] for split in SPLITS},
        files=tuple(dict.fromkeys(table.path for table in tables.values())),
        cut=cut,
        left_out=roles.left_out,
        unlabelled=unlabelled,
        unusable=tuple(unusable),
        duplicates=duplicates,
        doubts=(*doubts, *note),
    )


def _usable(table: Table, roles: Roles) -> tuple[list[Row], list[str], int]:
    """The rows of the task, a message for each that cannot be used, and the number of those without an answer."""
    check = _check(roles)
    rows: list[Row] = []
    faults: list[str] = []
    unlabelled = 0
    for line, row in zip(table.lines, table.rows, strict=True):
        if is_missing(row.get(roles.answer)):
            unlabelled += 1
            continue
        try:
            made = _made(row, roles)
            texts = [text_in(made, field) for field in roles.inputs]
            if not any(map(str.strip, texts)):
                raise Fault(f"no text in {', '.join(map(repr, roles.inputs))}")
            check(made)
        except Fault as fault:
            faults.append(f"{table.path}:{line}: {fault}")
        else:
            rows.append(made)
    check_share(faults, len(rows))
    return rows, faults, unlabelled


def _made(row: Row, roles: Roles) -> Row:
    """The row with the task's fields only, each of the type that the task asks for. Raises Fault."""
    made: Row = {name: "" if is_missing(value := row.get(name)) else _plain(value) for name in roles.inputs}
    value = row[roles.answer]
    if roles.options:
        options = row.get(roles.options)
        if not isinstance(options, list):
            raise Fault(f"field {roles.options!r} is no list")
        made[roles.options] = [as_text(option) for option in options]
        value = pick(value, options, roles.base)
        if value is None:
            raise Fault(f"the answer {as_text(row[roles.answer])!r} is none of the options")
    elif roles.kind == "number":
        value = number_in(value)
        if value is None:
            raise Fault(f"{as_text(row[roles.answer])!r} is no number")
    elif roles.kind == "text" and isinstance(value, list):
        value = [as_text(one) for one in value]
    else:
        number = number_in(value) if roles.kind == "choice" else None
        value = _plain(value if number is None else number)
        value = value.strip() if isinstance(value, str) else value
    return made | {roles.answer: value}


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | list | dict | bytes) else as_text(value)


def _check(roles: Roles) -> Callable[[Row], object]:
    """What raises a Fault for an answer that a task would not take."""
    if roles.options:
        return Choice(field=roles.answer, choices_field=roles.options).read
    if roles.kind == "text":
        return Text(field=roles.answer).read
    return lambda row: text_in(row, roles.answer) if roles.kind == "choice" else None


def _is_answered(rows: Sequence[Row], main: Sequence[Row], roles: Roles) -> bool:
    """Whether a split has answers, and some that `main` has: hidden ones are often all the same."""
    if roles.kind != "choice" or roles.options:
        return bool(rows)
    return bool({row[roles.answer] for row in rows} & {row[roles.answer] for row in main})


def _describe(
    name: str, roles: Roles, rows: Mapping[str, list[Row]], tables: Mapping[str, Table]
) -> tuple[Task, list[str]]:
    """The task as its file will say, and what is doubtful about its answers; options become numbers if they count."""
    answers = [row[roles.answer] for own in rows.values() for row in own]
    output: dict[str, Any] = {"kind": roles.kind, "field": roles.answer}
    metric: Metric = "accuracy"
    doubts = []
    if roles.options:
        output["choices_field"] = roles.options
    elif roles.kind == "choice":
        options = sorted(
            set(answers), key=lambda text: (number if (number := number_in(text)) is not None else 0.0, text)
        )
        output["choices"] = options
        (label, count), *_ = Counter(answers).most_common(1) or [("", 0)]
        if count > UNBALANCED * len(answers):
            what = f"{label!r} is {100 * count / len(answers):.0f}% of the answers"
            doubts.append(f"{name}: {what}: metric macro_f1 in {name}/task.yaml would count all alike")
        if options == [str(number) for number in range(len(options))]:
            for row in (row for own in rows.values() for row in own):
                row[roles.answer] = int(row[roles.answer])
            where = f"{name}/task.yaml"
            doubts.append(f"{name}: the options are numbers: say under 'choices' in {where}, in order, what they mean")
    elif roles.kind == "number":
        output["range"] = [min(answers, default=0), max(answers, default=0)]
        metric = "spearman"
    else:
        firsts = [answer[0] if isinstance(answer, list) else answer for answer in answers]
        words = sum(len(text.split()) for text in firsts) / max(1, len(firsts))
        metric = "exact_match" if words <= WHOLE else "token_f1" if words <= BY_WORDS else "rougeL"
    groups = {"choice": "options by row" if roles.options else "labels", "number": "numbers", "text": "texts"}
    several = " of several texts" if len(roles.inputs) > 1 else ""
    data = {
        "name": name,
        "description": f"{roles.answer} from {', '.join(roles.inputs)}",
        "cluster": groups[roles.kind] + several,
        "inputs": roles.inputs,
        "output": output,
        "metric": metric,
        "origin": ", ".join(dict.fromkeys(table.path.name for table in tables.values())),
        "splits": {split: f"{split}.jsonl" for split in SPLITS},
    }
    return build(Task, data, tables[next(iter(tables))].path), doubts


def _repeated(rows: Sequence[Row], roles: Roles) -> int:
    return len(rows) - len({repr([row[field] for field in (*roles.inputs, roles.answer)]) for row in rows})


def _divided(rows: Sequence[Row], keys: Sequence[str], splits: tuple[str, ...], roles: Roles) -> dict[str, list[Row]]:
    """The rows shared out among `splits`, in their order."""
    held_out = {s: min(SHARES[s], MOST_HELD_OUT / len(rows)) for s in SPLITS if s in splits and s != "train"}
    answers = [row[roles.answer] for row in rows]
    if roles.kind == "number":
        bins = max(1, min(MOST_BINS, len(rows) // LEAST_ROWS))
        edges = sorted(answers)[:: -(-len(rows) // bins)]
        labels = [str(sum(answer >= edge for edge in edges)) for answer in answers]
    else:
        labels = [str(answer) if roles.kind == "choice" and not roles.options else "" for answer in answers]
    placed = divide(keys, labels, {"train": 1 - sum(held_out.values())} | held_out)
    return {split: [row for row, own in zip(rows, placed) if own == split] for split in splits}
