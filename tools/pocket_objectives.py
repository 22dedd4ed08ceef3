"""What `pocket` is pretrained to do with a text: five self-supervised forms of input and target.

Each form asks for what tasks said in words will ask for:

- continue: the first part of a passage; the rest, up to 32 pieces (prefix language modelling).
- sentence: a passage up to the end of a sentence; the next sentence, then the end. Teaches to stop.
- fill: a passage with a gap of one to five words; what stood there, then the end. Short answers.
- choose: the same with a list of options, laid out as in instructions (`OPTIONS:`, then `- option` lines), of which
  the answer is copied.
- restore: a short passage with gaps in a third of its words; the whole passage (denoising). Teaches to copy. The
  whole text is asked for and not only the gaps, which fill asks for already.

In the last three a request in plain words stands before or after the passage; restore always has one, since it
would look like fill otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LONGEST_INPUT, LONGEST_TARGET = 96, 32  # pieces, [CLS] and [SEP] included
SHARES = {"continue": 0.25, "sentence": 0.2, "fill": 0.3, "choose": 0.15, "restore": 0.1}  # of the examples
REQUESTS = {
    "fill": ("", "", "Fill in the gap.", "What is missing?", "Which words belong here?"),
    "choose": ("", "Fill in the gap.", "Which of these fits best?", "What is missing?", "Choose one."),
    "restore": ("Write it out in full.", "Give the whole text, without gaps."),
}
_PASSAGE, _SHORT_PASSAGE = 64, 28  # pieces of a passage with gaps: room for request and options; room for a target
_HEAD_START = 16  # pieces by which every text is weighted as longer than it is, for the sake of short ones

Pieces = list[int]


@dataclass(frozen=True)
class Pair:
    """One example: an input [CLS] … [SEP]; a target that ends in [SEP] unless it was cut off."""

    form: str
    input: Pieces
    target: Pieces


def _pick(rng: np.random.Generator, values: np.ndarray) -> int:
    return int(values[int(rng.integers(len(values)))])  # a tenth of the time of rng.choice


class Forms:
    """Draws examples from texts, long texts more often."""

    def __init__(self, texts: Sequence[np.ndarray], tokenizer: Any) -> None:
        self.texts = texts
        self.cls, self.sep, self.gap = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id
        pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        self.begins_word = np.array([not piece.startswith("##") for piece in pieces])
        self.is_end = np.isin(np.arange(len(pieces)), tokenizer.convert_tokens_to_ids([".", "!", "?"]))
        self.requests = {form: [self._ids(tokenizer, text) for text in texts] for form, texts in REQUESTS.items()}
        self.options_line, self.dash = self._ids(tokenizer, "OPTIONS:"), self._ids(tokenizer, "-")
        weights = np.array([len(text) + _HEAD_START for text in texts], float)
        self.reach = np.cumsum(weights) / weights.sum()
        self.share_reach = np.cumsum(list(SHARES.values()))
        self.makers: dict[str, Callable[[np.random.Generator, np.ndarray], tuple[Pieces, Pieces] | None]] = {
            "continue": self._continue,
            "sentence": self._sentence,
            "fill": self._fill,
            "choose": self._choose,
            "restore": self._restore,
        }

    @staticmethod
    def _ids(tokenizer: Any, text: str) -> Pieces:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    def draw(self, rng: np.random.Generator, form: str | None = None) -> Pair:
        """An example, of the `form` if one is named, else of one drawn by `SHARES`."""
        form = form or tuple(SHARES)[int(np.searchsorted(self.share_reach, rng.random(), side="right"))]
        while True:
            made = self.makers[form](rng, self._text(rng))
            if made is not None:
                return Pair(form, [self.cls, *made[0], self.sep], made[1])

    def _text(self, rng: np.random.Generator) -> np.ndarray:
        return self.texts[int(np.searchsorted(self.reach, rng.random(), side="right"))]

    def _starts(self, text: np.ndarray) -> np.ndarray:
        """Where sentences begin, as far as punctuation tells; the begin of the text is the first."""
        after = np.flatnonzero(self.is_end[text[:-1]] & ~self.is_end[text[1:]]) + 1
        return np.concatenate([[0], after])

    def _passage(self, rng: np.random.Generator, text: np.ndarray, length: int) -> np.ndarray:
        """At most `length` pieces, from the begin of a sentence on, whole words."""
        start = _pick(rng, self._starts(text))
        stop = min(start + length, len(text))
        while stop < len(text) and stop > start + 1 and not self.begins_word[text[stop]]:
            stop -= 1
        return text[start:stop]

    def _words(self, passage: np.ndarray) -> np.ndarray:
        """Where words begin in the passage, and its length."""
        return np.append(np.flatnonzero(self.begins_word[passage]), len(passage))

    def _continue(self, rng: np.random.Generator, text: np.ndarray) -> tuple[Pieces, Pieces] | None:
        start = _pick(rng, self._starts(text))
        cuts = start + self._words(text[start : start + LONGEST_INPUT - 2])[:-1]
        cuts = cuts[cuts >= start + 4]
        if not len(cuts):
            return None
        cut = _pick(rng, cuts)
        rest = text[cut : cut + LONGEST_TARGET].tolist()
        ended = cut + len(rest) == len(text) and len(rest) < LONGEST_TARGET
        return text[start:cut].tolist(), rest + [self.sep] * ended

    def _sentence(self, rng: np.random.Generator, text: np.ndarray) -> tuple[Pieces, Pieces] | None:
        bounds = np.append(self._starts(text), len(text))
        sizes = np.diff(bounds)[1:]
        fitting = np.flatnonzero((sizes >= 2) & (sizes < LONGEST_TARGET)) + 1
        if not len(fitting):
            return None
        at = _pick(rng, fitting)
        before = text[max(bounds[at] - LONGEST_INPUT + 2, 0) : bounds[at]]
        return before.tolist(), [*text[bounds[at] : bounds[at + 1]].tolist(), self.sep]

    def _fill(self, rng: np.random.Generator, text: np.ndarray) -> tuple[Pieces, Pieces] | None:
        made = self._gapped(rng, text, int(rng.integers(1, 6)))
        if made is None:
            return None
        passage, answer = made
        return self._ask(rng, "fill", passage), [*answer, self.sep]

    def _choose(self, rng: np.random.Generator, text: np.ndarray) -> tuple[Pieces, Pieces] | None:
        words = int(rng.integers(1, 4))
        made = self._gapped(rng, text, words)
        others = [self._gapped(rng, self._text(rng), words) for _ in range(int(rng.integers(1, 4)))]
        if made is None or None in others:
            return None
        passage, answer = made
        options = [answer, *(other[1] for other in others if other is not None)]
        if len({tuple(option) for option in options}) < len(options) or max(map(len, options)) > 6:
            return None
        listed = [piece for i in rng.permutation(len(options)) for piece in (*self.dash, *options[i])]
        return [*self._ask(rng, "choose", passage), *self.options_line, *listed], [*answer, self.sep]

    def _gapped(self, rng: np.random.Generator, text: np.ndarray, words: int) -> tuple[Pieces, Pieces] | None:
        """A passage in which a gap stands for that many words, and these."""
        passage = self._passage(rng, text, _PASSAGE)
        bounds = self._words(passage)
        if len(bounds) <= words + 3:
            return None
        first = int(rng.integers(0, len(bounds) - words))
        start, stop = bounds[first], bounds[first + words]
        if stop - start >= LONGEST_TARGET:
            return None
        return [*passage[:start].tolist(), self.gap, *passage[stop:].tolist()], passage[start:stop].tolist()

    def _restore(self, rng: np.random.Generator, text: np.ndarray) -> tuple[Pieces, Pieces] | None:
        passage = self._passage(rng, text, _SHORT_PASSAGE)
        bounds = self._words(passage)
        if len(bounds) < 6:
            return None
        lost = rng.random(len(bounds) - 1) < 1 / 3
        lost[rng.integers(len(lost))] = True
        shown: Pieces = []
        for gone, start, stop in zip(lost, bounds[:-1], bounds[1:]):
            if not gone:
                shown += passage[start:stop].tolist()
            elif not shown or shown[-1] != self.gap:
                shown.append(self.gap)
        return self._ask(rng, "restore", shown), [*passage.tolist(), self.sep]

    def _ask(self, rng: np.random.Generator, form: str, passage: Pieces) -> Pieces:
        request = self.requests[form][int(rng.integers(len(self.requests[form])))]
        return [*request, *passage] if rng.random() < 0.5 else [*passage, *request]
