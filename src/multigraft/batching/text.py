"""Rendered examples as token ids, for text-to-text backbones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from multigraft.batching.encode import tokenize

SEPARATOR = "\n"  # between input and target, where one sequence holds both


@dataclass(frozen=True)
class TextFormat:
    """How a backbone reads a text and writes one; ids of its start, end and padding tokens."""

    kind: Literal["encoder_decoder", "decoder"]
    start_id: int  # what a decoder reads when it has nothing else
    end_id: int  # behind the target
    pad_id: int
    max_input: int  # tokens; longer inputs are cut: an encoder's at the end, a decoder's at the beginning
    max_target: int  # tokens with the end token; longer targets are cut at the end


@dataclass(frozen=True)
class TextEncoded:
    """n inputs with a target each, as token ids, stored one after the other.

    Input i is `inputs[input_starts[i]:input_starts[i + 1]]`; its target likewise, with the end token.
    """

    inputs: np.ndarray  # int32
    input_starts: np.ndarray  # int64, n + 1
    targets: np.ndarray  # int32
    target_starts: np.ndarray  # int64, n + 1
    truncated: np.ndarray  # bool, n: was something cut

    def __len__(self) -> int:
        return len(self.truncated)

    def input(self, i: int) -> np.ndarray:
        """Tokens of an input: int32."""
        return self.inputs[self.input_starts[i] : self.input_starts[i + 1]]

    def target(self, i: int) -> np.ndarray:
        """Tokens of a target: int32."""
        return self.targets[self.target_starts[i] : self.target_starts[i + 1]]

    @cached_property
    def input_lengths(self) -> np.ndarray:
        """int64, n: tokens of each input."""
        return np.diff(self.input_starts)

    @cached_property
    def target_lengths(self) -> np.ndarray:
        """int64, n: tokens of each target."""
        return np.diff(self.target_starts)

    @cached_property
    def lengths(self) -> np.ndarray:
        """int64, n: tokens of each input and target together."""
        return self.input_lengths + self.target_lengths

    @property
    def tokens(self) -> np.ndarray:
        """int64, n: the same; a row is one sequence."""
        return self.lengths

    @property
    def sequences(self) -> np.ndarray:
        """int64, n: sequences of each row."""
        return np.ones(len(self), dtype=np.int64)


def encode_text(pairs: Sequence[tuple[str, str]], tokenizer: Any, form: TextFormat) -> TextEncoded:
    """Encode `(input, target)` pairs. Raises UserError when the tokenizer is not a fast one."""
    inputs, cut = encode_inputs([text for text, _ in pairs], tokenizer, form)
    continuations = continue_texts(pairs, tokenizer, form)
    targets = [[*ids[: form.max_target - 1], form.end_id] for ids in continuations]
    cut |= np.array([len(ids) >= form.max_target for ids in continuations], dtype=bool)
    return TextEncoded(*_joined(inputs), *_joined(targets), cut)


def encode_inputs(texts: Sequence[str], tokenizer: Any, form: TextFormat) -> tuple[list[list[int]], np.ndarray]:
    """Token ids of each text as the backbone reads it before it writes, and which were cut: bool, n."""
    if form.kind == "encoder_decoder":
        ids, _, cut = tokenize(tokenizer, [(text, None) for text in texts], form.max_input)
        return ids, cut
    whole, _, _ = tokenize(tokenizer, [((text + SEPARATOR).rstrip(), None) for text in texts], None)
    # A model that predicts from nothing reads its start token.
    cut_to = [list(ids[-form.max_input :]) or [form.start_id] for ids in whole]
    return cut_to, np.array([len(ids) > form.max_input for ids in whole], dtype=bool)


def continue_texts(pairs: Sequence[tuple[str, str]], tokenizer: Any, form: TextFormat) -> list[list[int]]:
    """Token ids of each target behind its input, without an end token.

    A decoder's target is what is left of the two tokenized together, so that a space goes to the word behind it.
    """
    if form.kind == "encoder_decoder":
        return tokenizer([target for _, target in pairs], add_special_tokens=False)["input_ids"] if pairs else []  # type: ignore[no-any-return]
    joined = [(text + SEPARATOR, target) for text, target in pairs]
    heads = [text.rstrip() for text, _ in joined]
    whole, _, _ = tokenize(tokenizer, [(text + target, None) for text, target in joined], None)
    starts, _, _ = tokenize(tokenizer, [(head, None) for head in dict.fromkeys(heads)], None)
    lengths = dict(zip(dict.fromkeys(heads), map(len, starts), strict=True))
    return [list(ids[lengths[head] :]) for head, ids in zip(heads, whole, strict=True)]


def _joined(sequences: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.concatenate([[0], np.cumsum([len(s) for s in sequences])]).astype(np.int64)
    flat = np.fromiter((token for s in sequences for token in s), dtype=np.int32, count=int(starts[-1]))
    return flat, starts
