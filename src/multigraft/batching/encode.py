"""Examples to token ids, for encoders with heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from multigraft.errors import UserError
from multigraft.tasks.task import Example, Task

NO_CLASS = -100  # target class of a row whose answer is a number


@dataclass(frozen=True)
class Encoded:
    """n rows of one task as token ids.

    A row is one sequence of tokens; where options come with the row, one sequence for each option. Sequences
    are stored one after the other: sequence s is `ids[starts[s]:starts[s + 1]]`, and row i has the sequences
    `first[i]` to `first[i + 1]`.
    """

    ids: np.ndarray  # int32, all tokens
    types: np.ndarray | None  # int8, token types, where the tokenizer has them
    starts: np.ndarray  # int64, sequences + 1
    first: np.ndarray  # int64, n + 1
    choices: np.ndarray  # int64, n: options of each row; 0 where the answer is a number
    target_class: np.ndarray  # int64, n: index of the right option, or NO_CLASS
    target_number: np.ndarray  # float32, n: the number scaled to 0..1, or 0
    truncated: np.ndarray  # bool, n: was something cut
    by_row: bool  # do the options come with the row

    def __len__(self) -> int:
        return len(self.first) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """int64, n: tokens of each row's longest sequence."""
        return np.maximum.reduceat(np.diff(self.starts), self.first[:-1]) if len(self) else np.zeros(0, np.int64)

    @cached_property
    def tokens(self) -> np.ndarray:
        """int64, n: tokens of each row."""
        return self.starts[self.first[1:]] - self.starts[self.first[:-1]]

    @property
    def sequences(self) -> np.ndarray:
        """int64, n: sequences of each row."""
        return np.diff(self.first)


def segments(inputs: Sequence[str], option: str | None, separator: str) -> tuple[str, str | None]:
    """The two segments an encoder reads: the first field, and the others joined by the separator token.

    With an option, the fields are joined to the first segment and the option is the second.
    """
    if option is not None:
        return f" {separator} ".join(inputs), option
    rest = inputs[1:]
    return inputs[0], f" {separator} ".join(rest) if rest else None


def tokenize(
    tokenizer: Any, pairs: Sequence[tuple[str, str | None]], max_length: int | None
) -> tuple[list[Any], list[Any] | None, np.ndarray]:
    """Ids and token types (None where the model has none) of each pair of segments, and which were cut.

    The longer segment is cut first; without `max_length` nothing is. Raises UserError when the tokenizer is not a
    fast one.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UserError("the backbone has no fast tokenizer", where=tokenizer.name_or_path, fix="take one that has")
    ids: list[Any] = [None] * len(pairs)
    types: list[Any] = [None] * len(pairs)
    cut = np.zeros(len(pairs), dtype=bool)
    wants_types = "token_type_ids" in tokenizer.model_input_names
    for paired in (False, True):
        chosen = [i for i, pair in enumerate(pairs) if (pair[1] is not None) == paired]
        if not chosen:
            continue
        second = [pairs[i][1] for i in chosen] if paired else None
        coded = tokenizer(
            [pairs[i][0] for i in chosen],
            second,
            truncation="longest_first" if max_length else False,
            max_length=max_length,
            return_token_type_ids=wants_types,
            return_attention_mask=False,
        )
        for position, i in enumerate(chosen):
            ids[i] = coded["input_ids"][position]
            types[i] = coded["token_type_ids"][position] if wants_types else None
            cut[i] = bool(coded.encodings[position].overflowing)
    return ids, types if wants_types else None, cut


def encode(task: Task, examples: Sequence[Example], tokenizer: Any, max_length: int) -> Encoded:
    """Encode a task's examples with at most `max_length` tokens each.

    Raises UserError when the task is answered with text, which an encoder cannot write.
    """
    if task.output.kind == "text":
        raise UserError(
            "the answer is a text, which an encoder cannot write", where=task.name, fix="leave the task out"
        )
    by_row = task.output.kind == "choice" and task.output.choices is None
    pairs: list[tuple[str, str | None]] = []
    first = [0]
    for example in examples:
        options: Sequence[str | None] = example.choices if by_row else (None,)
        pairs += [segments(example.inputs, option, tokenizer.sep_token) for option in options]
        first.append(len(pairs))
    ids, types, cut = tokenize(tokenizer, pairs, max_length)
    starts = np.concatenate([[0], np.cumsum([len(sequence) for sequence in ids])]).astype(np.int64)
    bounds = np.array(first, dtype=np.int64)
    numbers = task.output.kind == "number"
    low, high = task.output.range if task.output.kind == "number" else (0.0, 1.0)
    return Encoded(
        ids=_joined(ids, np.int32),
        types=_joined(types, np.int8) if types is not None else None,
        starts=starts,
        first=bounds,
        choices=np.array([0 if numbers else len(example.choices) for example in examples], dtype=np.int64),
        target_class=np.array([NO_CLASS if numbers else example.target for example in examples], dtype=np.int64),
        target_number=np.array(
            [(float(example.target) - low) / (high - low) if numbers else 0.0 for example in examples], dtype=np.float32
        ),
        truncated=np.logical_or.reduceat(cut, bounds[:-1]) if len(examples) else np.zeros(0, dtype=bool),
        by_row=by_row,
    )


def _joined(sequences: Sequence[Any], kind: Any) -> np.ndarray:
    return np.concatenate([np.asarray(s, dtype=kind) for s in sequences]) if sequences else np.zeros(0, kind)
