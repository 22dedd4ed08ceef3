"""Answers of trained models to new texts: for all tasks of a text, and for texts of different tasks in one batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multigraft.batching.collate import pad
from multigraft.batching.encode import segments, tokenize
from multigraft.errors import UserError, unknown
from multigraft.library.model_folder import find_models, load_model
from multigraft.methods.joint import JointModel
from multigraft.tasks.outputs import Output
from multigraft.tasks.readers import reader_for, stop
from multigraft.training.precision import computing_in

ROWS = 32  # texts in a batch
POSITIONS = 1 << 16  # tokens in a pass, with padding, counted for every task
TEXT = "text"  # the field of a file that every task with one input can answer

Row = Mapping[str, Any]
Pairs = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Answer:
    """What a task says of a text: an option with its probability, or a number."""

    text: str
    probability: float | None
    number: float | None = None
    probabilities: tuple[tuple[str, float], ...] = ()  # of all options

    def record(self) -> dict[str, Any]:
        """For JSON."""
        if self.number is not None:
            return {"number": self.number}
        return {"choice": self.text, "probability": self.probability}


@dataclass(frozen=True)
class Question:
    """What a task asks: its text fields in order, None where any texts will do, and what they are answered with."""

    inputs: tuple[str, ...] | None
    output: Output


@dataclass(frozen=True)
class Asked:
    """A model and the questions it answers, by the name of the task or expert; texts are cut at `length` tokens."""

    joint: JointModel
    questions: Mapping[str, Question]
    length: int
    precision: str


@dataclass(frozen=True)
class _Ask:
    """What is asked of a model for one row: tasks that read the same sequences. options: those of the row."""

    index: int
    names: tuple[str, ...]
    pairs: Pairs
    options: tuple[str, ...] | None


@dataclass(frozen=True)
class _Encoded:
    """The same with the token ids, and types where the model has them, of each sequence."""

    ask: _Ask
    ids: list[Any]
    types: list[Any] | None

    @property
    def longest(self) -> int:
        """Tokens of its longest sequence."""
        return max(map(len, self.ids))


class Answerer:
    """Models that answer texts: one for all tasks, or several with a task each."""

    def __init__(self, models: Sequence[Asked], only: Sequence[str] | None = None) -> None:
        """Raises UserError when `only` names a task that no model has."""
        self._models = models
        self.questions = {name: question for model in models for name, question in model.questions.items()}
        self.names = list(self.questions)
        self._check_names(only or ())
        if only is not None:
            self.names = [name for name in self.names if name in only]

    @classmethod
    def load(cls, folder: Path, only: Sequence[str] | None = None) -> Answerer:
        """The model, or models, in `folder`; with `only`, for these tasks. Raises UserError."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        models = []
        for place in find_models(folder):
            joint, tasks, file = load_model(place)
            questions = {name: Question(task.inputs, task.output) for name, task in tasks.items()}
            models.append(Asked(joint.to(device), questions, file.max_length, file.precision))
        return cls(models, only)

    def fitting(self, row: Row, tasks: Collection[str] | None = None) -> list[str]:
        """Those of `tasks`, by default of all, that can answer a row.

        A row has a task's own fields, or one field `text`, or a list `texts`. Raises UserError when there is none, and
        for an unknown task.
        """
        self._check_names(tasks or ())
        asked = [name for name in self.names if tasks is None or name in tasks]
        found = [name for name in asked if _sequences(self.questions[name], row, "") is not None]
        if not found:
            wanted = "; ".join(f"{name} {_wanted(self.questions[name])}" for name in asked)
            raise UserError(f"no task can answer it: it has {list(row)}", fix=f"inputs are: {wanted}")
        return found

    def answer(
        self, rows: Sequence[Row], tasks: Sequence[Collection[str] | None] | None = None
    ) -> list[dict[str, Answer]]:
        """Answers to every row, by task: for each row of its `tasks`, or of all; those it does not fit are left out.

        Texts that several tasks are asked about share a pass of the layers below the first module; the others go
        through together, each with its own expert. Raises UserError as `fitting`, with the number of the row.
        """
        wanted = []
        for number, row in enumerate(rows, 1):
            try:
                wanted.append(self.fitting(row, None if tasks is None else tasks[number - 1]))
            except UserError as error:
                raise UserError(error.what, where=f"row {number}", fix=error.fix) from None
        found: list[dict[str, Answer]] = [{} for _ in rows]
        for model in self._models:
            groups: dict[object, list[_Ask]] = defaultdict(list)
            for index, row in enumerate(rows):
                for ask in _asks(model, index, row, wanted[index]):
                    groups[(ask.names, ask.options is None) if len(ask.names) > 1 else None].append(ask)
            for asks in groups.values():
                for batch in _batches(model, asks):
                    _pass(model, batch, found)
        return [{name: answers[name] for name in names} for names, answers in zip(wanted, found, strict=True)]

    def _check_names(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.names:
                raise unknown("task", name, self.names)


def _asks(model: Asked, index: int, row: Row, names: Collection[str]) -> Iterator[_Ask]:
    """What a row asks a model: one for all tasks that read the same sequences."""
    separator = model.joint.backbone.tokenizer.sep_token
    by_pairs: dict[tuple[Pairs, tuple[str, ...] | None], list[str]] = defaultdict(list)
    for name in names:
        if name in model.questions:
            question = model.questions[name]
            pairs = _sequences(question, row, separator)
            assert pairs is not None
            by_pairs[pairs, _options(question, row)].append(name)
    for (pairs, options), together in by_pairs.items():
        yield _Ask(index, tuple(together), pairs, options)


def _batches(model: Asked, asks: Sequence[_Ask]) -> Iterator[list[_Encoded]]:
    """At most `ROWS` rows and `POSITIONS` tokens each, or one row; of like lengths, so that little is padded."""
    backbone = model.joint.backbone
    length = min(model.length, backbone.max_length - model.joint.prompt)
    ids, types, _ = tokenize(backbone.tokenizer, [pair for ask in asks for pair in ask.pairs], length)
    encoded, at = [], 0
    for ask in asks:
        own = slice(at, at := at + len(ask.pairs))
        encoded.append(_Encoded(ask, ids[own], None if types is None else types[own]))
    batch: list[_Encoded] = []
    sequences = 0
    for one in sorted(encoded, key=lambda one: one.longest):
        if batch and (len(batch) == ROWS or (sequences + len(one.ids)) * one.longest > POSITIONS):
            yield batch
            batch, sequences = [], 0
        batch.append(one)
        sequences += len(one.ids)
    if batch:
        yield batch


@torch.inference_mode()
def _pass(model: Asked, batch: Sequence[_Encoded], found: list[dict[str, Answer]]) -> None:
    """The answers to rows that all ask the same tasks, or one task each."""
    joint, device = model.joint, next(model.joint.encoder.parameters()).device
    arrays = [np.asarray(sequence) for one in batch for sequence in one.ids]
    ids = pad(arrays, joint.backbone.pad_id).to(device)
    mask = pad([np.ones(len(sequence), dtype=np.int64) for sequence in arrays], 0).to(device)
    kinds = [np.asarray(sequence) for one in batch for sequence in one.types or ()]
    types = pad(kinds, 0).to(device) if kinds else None
    names = batch[0].ask.names
    with computing_in(model.precision, device):
        if len(names) > 1:
            at_once = max(1, POSITIONS // ids.numel())
            experts = [joint.names.index(name) for name in names]
            parts = [experts[start : start + at_once] for start in range(0, len(experts), at_once)]
            values = torch.cat([joint.answer_all(ids, mask, types, part).cpu() for part in parts])
        else:
            each = [joint.names.index(one.ask.names[0]) for one in batch for _ in one.ids]
            distinct, local = np.unique(each, return_inverse=True)
            own = torch.from_numpy(local).to(device) if len(distinct) > 1 else None
            values = joint.values(ids, mask, types, distinct.tolist(), own).cpu()[None]
    for k in range(len(names)):
        at = 0
        for one in batch:
            scores = values[k, at] if one.ask.options is None else values[k, at : at + len(one.ids), 0]
            name = one.ask.names[k]
            found[one.ask.index][name] = _worded(model.questions[name], scores, one.ask.options)
            at += len(one.ids)


def _sequences(question: Question, row: Row, separator: str) -> Pairs | None:
    """The segments of each sequence that a question reads of a row, or None when the row does not have them."""
    inputs, options = _inputs(question, row), _options(question, row)
    if inputs is None or options == ():
        return None
    return tuple(segments(inputs, option, separator) for option in (options or (None,)))


def _inputs(question: Question, row: Row) -> tuple[str, ...] | None:
    """The row's texts in the order of the question's inputs, or None when it does not have them."""
    texts, wanted = row.get("texts"), question.inputs
    if isinstance(texts, list):
        fits = len(texts) == len(wanted) if wanted is not None else bool(texts)
        return tuple(map(str, texts)) if fits else None
    if wanted is not None and all(isinstance(row.get(name), str) for name in wanted):
        return tuple(str(row[name]) for name in wanted)
    alone = wanted is None or len(wanted) == 1
    return (str(row[TEXT]),) if alone and isinstance(row.get(TEXT), str) else None


def _options(question: Question, row: Row) -> tuple[str, ...] | None:
    """The row's own options; None where the question's are fixed, empty where the row lacks them."""
    output = question.output
    if output.kind != "choice" or output.choices_field is None:
        return None
    options = row.get(output.choices_field)
    return tuple(map(str, options)) if isinstance(options, list | tuple) else ()


def _wanted(question: Question) -> object:
    """A question's inputs, for a message."""
    return question.inputs if question.inputs is not None else (TEXT,)


def _worded(question: Question, scores: torch.Tensor, options: Sequence[str] | None) -> Answer:
    output = question.output
    if output.kind == "number":
        low, high = output.range
        number = low + (high - low) * min(1.0, max(0.0, float(scores[0])))
        return Answer(f"{number:.2f}", None, number)
    assert output.kind == "choice"
    choices = options if options is not None else output.choices or ()
    chances = scores[: len(choices)].softmax(0).tolist()
    best = int(np.argmax(chances))
    return Answer(choices[best], chances[best], probabilities=tuple(zip(choices, chances, strict=True)))


def rows_of_file(path: Path) -> list[dict[str, Any]]:
    """The rows of a jsonl, csv, tsv or parquet file. Raises UserError with file and line for a bad one."""
    rows: Iterable[tuple[int, Mapping[str, Any]]] = reader_for(path).rows(path, stop)
    found = [dict(row) for _, row in rows]
    if not found:
        raise UserError("no rows", where=path)
    return found
