"""Rank classification: the log-probability of every option behind its input (arXiv 2109.01652, section 2.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from multigraft.batching.collate import pad
from multigraft.batching.text import TextFormat, continue_texts, encode_inputs
from multigraft.methods.text_model import TextModel
from multigraft.training.precision import computing_in

Norm = Literal["sum", "tokens", "bytes", "unconditional"]
TOKENS = 4096  # of inputs and options in a batch


@dataclass(frozen=True)
class OptionScores:
    """Scores of the options of n inputs: of input i, those from `first[i]` to `first[i + 1]`; S in all."""

    first: np.ndarray  # int64, n + 1
    total: np.ndarray  # float64, S: log-probability of the option behind its input
    unconditional: np.ndarray  # float64, S: the same behind an empty input
    tokens: np.ndarray  # int64, S
    bytes: np.ndarray  # int64, S: of the option's UTF-8 text

    def normed(self, norm: Norm) -> np.ndarray:
        """What the options are ranked by: float64, S.

        sum: log-probability; tokens, bytes: the same per token and per byte; unconditional: how much the input
        raises it, the pointwise mutual information (Holtzman et al. 2021, arXiv 2104.08315, with an empty premise).
        """
        if norm == "unconditional":
            return self.total - self.unconditional
        return self.total / {"sum": 1, "tokens": np.maximum(self.tokens, 1), "bytes": np.maximum(self.bytes, 1)}[norm]

    def choose(self, norm: Norm) -> np.ndarray:
        """Index of the best option of each input; of equal ones the first: int64, n."""
        values = self.normed(norm)
        return np.array([int(values[a:b].argmax()) for a, b in zip(self.first[:-1], self.first[1:], strict=True)])


@dataclass(frozen=True)
class _Question:
    """An input with its options as token ids."""

    number: int
    input: list[int]
    options: list[list[int]]
    expert: int

    @property
    def tokens(self) -> int:
        return len(self.input) + sum(map(len, self.options))


@torch.inference_mode()
def score_options(
    model: TextModel,
    inputs: Sequence[str],
    options: Sequence[Sequence[str]],
    experts: Sequence[int],
    form: TextFormat,
    precision: str = "auto",
) -> OptionScores:
    """Log-probabilities of all options of every input, each by its expert.

    An input is read once for all its options: by the encoder, or into the decoder's cache.
    """
    model.eval()
    tokenizer = model.backbone.tokenizer
    asked = list(zip(inputs, options, experts, strict=True))
    # Without an input, once for each option and expert.
    bare = {(option, expert): None for _, mine, expert in asked for option in mine}
    questions = _questions(asked, tokenizer, form)
    empty = _questions([("", [option], expert) for option, expert in bare], tokenizer, form)
    totals = _answer(model, questions, form, precision)
    alone = _answer(model, empty, form, precision)
    known = {key: float(values[0]) for key, values in zip(bare, alone, strict=True)}
    flat = [(option, expert) for _, mine, expert in asked for option in mine]
    return OptionScores(
        first=np.cumsum([0, *(len(mine) for mine in options)]),
        total=np.concatenate(totals) if totals else np.zeros(0),
        unconditional=np.array([known[key] for key in flat]),
        tokens=np.array([len(ids) for question in questions for ids in question.options]),
        bytes=np.array([len(option.encode()) for option, _ in flat]),
    )


def _questions(asked: Sequence[tuple[str, Sequence[str], int]], tokenizer: Any, form: TextFormat) -> list[_Question]:
    ids, _ = encode_inputs([text for text, _, _ in asked], tokenizer, form)
    flat = continue_texts([(text, option) for text, mine, _ in asked for option in mine], tokenizer, form)
    targets = iter(flat)
    return [
        _Question(number, ids[number], [next(targets)[: form.max_target] for _ in mine], expert)
        for number, (_, mine, expert) in enumerate(asked)
    ]


def _answer(model: TextModel, questions: Sequence[_Question], form: TextFormat, precision: str) -> list[np.ndarray]:
    """Log-probability of each option, by question."""
    found: list[np.ndarray] = [np.zeros(0)] * len(questions)
    device = next(model.parameters()).device
    for batch in _batches(questions):
        with computing_in(precision, device):
            scores = (_encoder_decoder if form.kind == "encoder_decoder" else _decoder)(model, batch, form, device)
        at = 0
        for question in batch:
            found[question.number] = scores[at : at + len(question.options)]
            at += len(question.options)
    return found


def _batches(questions: Sequence[_Question]) -> Iterator[list[_Question]]:
    """Questions of like lengths, up to `TOKENS` in a batch."""
    batch: list[_Question] = []
    for question in sorted(questions, key=lambda question: (len(question.input), question.tokens)):
        widest = max([question, *batch], key=lambda question: question.tokens)
        if batch and widest.tokens * (len(batch) + 1) > TOKENS:
            yield batch
            batch = []
        batch.append(question)
    if batch:
        yield batch


def _experts(rows: Sequence[int], device: torch.device) -> tuple[list[int], Tensor | None]:
    distinct, local = np.unique(rows, return_inverse=True)
    return distinct.tolist(), torch.from_numpy(local).to(device) if len(distinct) > 1 else None


def _encoder_decoder(
    model: TextModel, batch: Sequence[_Question], form: TextFormat, device: torch.device
) -> np.ndarray:
    source = pad([np.array(question.input) for question in batch], form.pad_id).to(device)
    visible = _visible([len(question.input) for question in batch], device)
    row = torch.tensor([b for b, question in enumerate(batch) for _ in question.options], device=device)
    experts, local = _experts([question.expert for question in batch], device)
    with model.rows(experts, local, visible):
        states = model.language_model.get_encoder()(input_ids=source, attention_mask=visible, return_dict=True)
    states.last_hidden_state = states.last_hidden_state.index_select(0, row)
    options = [option for question in batch for option in question.options]
    ids = pad([np.array([form.start_id, *option[:-1]]) for option in options], form.pad_id).to(device)
    written = _visible([max(1, len(option)) for option in options], device)
    with (
        model.rows(experts, local if local is None else local[row], visible[row]),
        model.predicting(_places(options, ids.shape[1], device)),
    ):
        logits = model.language_model(
            encoder_outputs=states, attention_mask=visible[row], decoder_input_ids=ids,
            decoder_attention_mask=written, use_cache=False,
        ).logits  # fmt: skip
    return _sums(logits, options)


def _decoder(model: TextModel, batch: Sequence[_Question], form: TextFormat, device: torch.device) -> np.ndarray:
    # The last token of the input goes with the options: it predicts their first.
    heads = [question.input[:-1] for question in batch]
    row = torch.tensor([b for b, question in enumerate(batch) for _ in question.options], device=device)
    experts, local = _experts([question.expert for question in batch], device)
    lengths = torch.tensor([len(head) for head in heads], device=device)
    cache, seen = None, torch.zeros(len(batch), 0, dtype=torch.long, device=device)
    if int(lengths.max()):
        prefix = pad([np.array(head, dtype=np.int64) for head in heads], form.pad_id).to(device)
        seen = _visible(lengths.tolist(), device)
        # A row without any token to see would be not a number, and spread.
        shown = seen.clone()
        shown[:, 0] = 1
        places = torch.zeros(1, dtype=torch.long, device=device)
        with model.rows(experts, local, shown), model.predicting(places):
            cache = model.language_model(
                input_ids=prefix, attention_mask=shown, position_ids=_counted(prefix), use_cache=True
            ).past_key_values
        cache.batch_select_indices(row)
    options = [option for question in batch for option in question.options]
    lasts = [question.input[-1] for question in batch for _ in question.options]
    ids = pad([np.array([last, *option[:-1]]) for last, option in zip(lasts, options, strict=True)], form.pad_id)
    ids = ids.to(device)
    written = _visible([max(1, len(option)) for option in options], device)
    with (
        model.rows(experts, local if local is None else local[row], written),
        model.predicting(_places(options, ids.shape[1], device)),
    ):
        logits = model.language_model(
            input_ids=ids, attention_mask=torch.cat([seen[row], written], dim=1),
            position_ids=_counted(ids) + lengths[row][:, None], past_key_values=cache, use_cache=cache is not None,
        ).logits  # fmt: skip
    return _sums(logits, options)


def _visible(lengths: Sequence[int], device: torch.device) -> Tensor:
    """1 where a token is, 0 where padding is: B T, int64."""
    wide = torch.arange(max(lengths), device=device)
    return (wide < torch.tensor(lengths, device=device)[:, None]).long()


def _counted(ids: Tensor) -> Tensor:
    return torch.arange(ids.shape[1], device=ids.device).expand_as(ids)


def _places(options: Sequence[Sequence[int]], width: int, device: torch.device) -> Tensor:
    """Where the tokens of the options are predicted from, counted through the rows of `width`: K, int64."""
    return torch.cat([torch.arange(len(option)) + s * width for s, option in enumerate(options)]).to(device)


def _sums(logits: Tensor, options: Sequence[Sequence[int]]) -> np.ndarray:
    """Log-probability of each option: S, float64; logits: 1 K V."""
    wanted = torch.tensor([token for option in options for token in option], dtype=torch.long, device=logits.device)
    tokens = -torch.nn.functional.cross_entropy(logits[0].float(), wanted, reduction="none").double().cpu().numpy()
    ends = np.cumsum([len(option) for option in options])
    sums = np.concatenate([[0.0], np.cumsum(tokens)])
    return sums[ends] - sums[ends - np.array([len(option) for option in options])]
