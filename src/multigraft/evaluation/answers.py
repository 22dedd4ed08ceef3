"""Answers of a trained model to new texts, for all its tasks at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multigraft.batching.collate import pad
from multigraft.batching.encode import segments, tokenize
from multigraft.errors import UserError, unknown
from multigraft.library.model_folder import ModelFile, find_models, load_model
from multigraft.methods.joint import JointModel
from multigraft.tasks.readers import reader_for, stop
from multigraft.tasks.task import Task
from multigraft.training.precision import computing_in

ROWS = 32  # texts in a batch
TEXT = "text"  # the field of a file that every task with one input can answer


@dataclass(frozen=True)
class Answer:
    """What a task says of a text: an option with its probability, or a number."""

    text: str
    probability: float | None
    number: float | None = None

    def record(self) -> dict[str, Any]:
        """For JSON."""
        if self.number is not None:
            return {"number": self.number}
        return {"choice": self.text, "probability": self.probability}


@dataclass(frozen=True)
class _Model:
    joint: JointModel
    tasks: dict[str, Task]
    file: ModelFile


class Answerer:
    """Models that answer texts: one for all tasks, or several with a task each."""

    def __init__(self, models: Sequence[_Model], only: Sequence[str] | None) -> None:
        self._models = models
        self.names = [name for model in models for name in model.tasks]
        for name in only or ():
            if name not in self.names:
                raise unknown("task", name, self.names)
        if only is not None:
            self.names = [name for name in self.names if name in only]

    @classmethod
    def load(cls, folder: Path, only: Sequence[str] | None = None) -> Answerer:
        """The model, or models, in `folder`; with `only`, for these tasks. Raises UserError."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        models = []
        for place in find_models(folder):
            joint, tasks, file = load_model(place)
            models.append(_Model(joint.to(device), tasks, file))
        return cls(models, only)

    def answer(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Answer]]:
        """Answers to every row, by task.

        A row has a task's own fields, or one field `text`, or a list `texts`; tasks it does not fit are left out.
        Raises UserError for a row that no task can answer.
        """
        found: list[dict[str, Answer]] = [{} for _ in rows]
        for model in self._models:
            # Rows whose inputs are the same for the same tasks share a pass; options of the row need one of their own.
            groups: dict[tuple[tuple[str, ...], bool], list[tuple[int, list[tuple[str, str | None]]]]] = defaultdict(
                list
            )
            for index, row in enumerate(rows):
                for key, pairs in self._asked(model, row).items():
                    groups[key].append((index, pairs))
            for (names, by_row), asked in groups.items():
                for start in range(0, len(asked), ROWS):
                    self._answer(model, names, by_row, asked[start : start + ROWS], rows, found)
        for number, (row, answers) in enumerate(zip(rows, found, strict=True), 1):
            if not answers:
                wanted = "; ".join(f"{name} {self._task(name).inputs}" for name in self.names)
                raise UserError(
                    f"no task can answer it: it has {list(row)}", where=f"row {number}", fix=f"inputs are: {wanted}"
                )
        return [{name: answers[name] for name in self.names if name in answers} for answers in found]

    def _task(self, name: str) -> Task:
        return next(model.tasks[name] for model in self._models if name in model.tasks)

    def _asked(
        self, model: _Model, row: Mapping[str, Any]
    ) -> dict[tuple[tuple[str, ...], bool], list[tuple[str, str | None]]]:
        """The pairs of segments that a row asks a model, and which tasks they are for."""
        separator = model.joint.backbone.tokenizer.sep_token
        by_pairs: dict[tuple[bool, tuple[tuple[str, str | None], ...]], list[str]] = defaultdict(list)
        for name, task in model.tasks.items():
            inputs = _inputs(task, row) if name in self.names else None
            if inputs is None:
                continue
            options = _options(task, row)
            if options is None:
                by_pairs[False, (segments(inputs, None, separator),)].append(name)
            elif options:
                by_pairs[True, tuple(segments(inputs, option, separator) for option in options)].append(name)
        return {(tuple(names), by_row): list(pairs) for (by_row, pairs), names in by_pairs.items()}

    @torch.inference_mode()
    def _answer(
        self,
        model: _Model,
        names: Sequence[str],
        by_row: bool,
        asked: Sequence[tuple[int, list[tuple[str, str | None]]]],
        rows: Sequence[Mapping[str, Any]],
        found: list[dict[str, Answer]],
    ) -> None:
        joint, device = model.joint, next(model.joint.encoder.parameters()).device
        length = min(model.file.max_length, joint.backbone.max_length)
        ids, types, _ = tokenize(joint.backbone.tokenizer, [pair for _, pairs in asked for pair in pairs], length)
        arrays = [np.asarray(sequence) for sequence in ids]
        padded = pad(arrays, joint.backbone.pad_id).to(device)
        mask = pad([np.ones(len(sequence), dtype=np.int64) for sequence in arrays], 0).to(device)
        kinds = None if types is None else pad([np.asarray(t) for t in types], 0).to(device)
        with computing_in(model.file.precision, device):
            values = joint.answer_all(padded, mask, kinds, [joint.names.index(name) for name in names]).cpu()
        for k, name in enumerate(names):
            task, at = model.tasks[name], 0
            for index, pairs in asked:
                scores = values[k, at : at + len(pairs), 0] if by_row else values[k, at]
                found[index][name] = _worded(task, scores, _options(task, rows[index]))
                at += len(pairs)


def _inputs(task: Task, row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The row's texts in the order of the task's inputs, or None when it does not have them."""
    texts = row.get("texts")
    if isinstance(texts, list):
        return tuple(texts) if len(texts) == len(task.inputs) else None
    if all(isinstance(row.get(name), str) for name in task.inputs):
        return tuple(str(row[name]) for name in task.inputs)
    return (str(row[TEXT]),) if len(task.inputs) == 1 and isinstance(row.get(TEXT), str) else None


def _options(task: Task, row: Mapping[str, Any]) -> list[str] | None:
    """The row's own options; None where the task's are fixed, empty where the row lacks them."""
    if task.output.kind != "choice" or task.output.choices_field is None:
        return None
    options = row.get(task.output.choices_field)
    return [str(option) for option in options] if isinstance(options, list | tuple) else []


def _worded(task: Task, scores: torch.Tensor, options: Sequence[str] | None) -> Answer:
    if task.output.kind == "number":
        low, high = task.output.range
        number = low + (high - low) * min(1.0, max(0.0, float(scores[0])))
        return Answer(f"{number:.2f}", None, number)
    assert task.output.kind == "choice"
    choices = options if options is not None else task.output.choices or ()
    chances = scores[: len(choices)].softmax(0)
    best = int(chances.argmax())
    return Answer(choices[best], float(chances[best]))


def rows_of_file(path: Path) -> list[dict[str, Any]]:
    """The rows of a jsonl, csv, tsv or parquet file. Raises UserError with file and line for a bad one."""
    rows: Iterable[tuple[int, Mapping[str, Any]]] = reader_for(path).rows(path, stop)
    found = [dict(row) for _, row in rows]
    if not found:
        raise UserError("no rows", where=path)
    return found
