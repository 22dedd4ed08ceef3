"""One step of pretraining `pocket`: which examples, how they are batched, the loss."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pocket_objectives import Forms, Pair
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

GROUP = 16  # rows that go through the model together: on a CPU more only pad more
_ATTENTION = SDPBackend.MATH  # at these lengths its backward takes half the time of the flash kernel's on a CPU


@dataclass(frozen=True)
class Batch:
    """`input` B T and `target` B U, filled up with zeros, which [PAD] is."""

    input: Tensor
    target: Tensor
    forms: tuple[str, ...]


def pairs_of_step(forms: Forms, seed: int, step: int, rows: int) -> list[Pair]:
    """The examples of a step: a function of seed and step, so that a run continues anywhere."""
    rng = np.random.default_rng([seed, step])
    return [forms.draw(rng) for _ in range(rows)]


def groups(pairs: Sequence[Pair]) -> list[Batch]:
    """Batches of `GROUP` rows of like lengths: halved by target length, then sorted by input length."""
    by_target = sorted(pairs, key=lambda pair: len(pair.target))
    middle = len(by_target) // 2
    batches = []
    for half in (by_target[:middle], by_target[middle:]):
        half = sorted(half, key=lambda pair: len(pair.input))
        batches += [_batch(half[at : at + GROUP]) for at in range(0, len(half), GROUP)]
    return batches


def _batch(pairs: Sequence[Pair]) -> Batch:
    inputs, targets = (
        nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        for rows in ([pair.input for pair in pairs], [pair.target for pair in pairs])
    )
    return Batch(inputs, targets, tuple(pair.form for pair in pairs))


class Trainee:
    """The model with its frozen parts in bfloat16 beside it; the trained parts stay in float32 under autocast."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self.model, self.device = model.to(device), device
        self.encoder = copy.deepcopy(model.encoder).to(torch.bfloat16)
        self.words = self.encoder.embeddings.word_embeddings.weight

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Nats of every target piece (N), and the row of each (N). The encoder takes no part in gradients.

        The softmax over all word pieces is computed where there are targets only.
        """
        source, target = batch.input.to(self.device), batch.target.to(self.device)
        mask, filled = source != 0, target != 0
        start = torch.full_like(target[:, :1], self.model.config.decoder_start_token_id)
        with torch.no_grad():
            memory = self.encoder(input_ids=source, attention_mask=mask).last_hidden_state
        head = self.model.decoder.cls.predictions
        with torch.autocast(self.device.type, torch.bfloat16), sdpa_kernel(_ATTENTION):
            hidden = self.model.decoder.bert(  # causal: what fills a row up comes after it and is seen by nothing
                input_ids=torch.cat([start, target[:, :-1]], 1),
                encoder_hidden_states=memory,
                encoder_attention_mask=mask,
                use_cache=False,
            ).last_hidden_state
            logits = F.linear(head.transform(hidden[filled]), self.words, head.bias)
        return F.cross_entropy(logits.float(), target[filled], reduction="none"), filled.nonzero()[:, 0]

    @torch.no_grad()
    def measure(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """Mean nats per target piece, by form and over all."""
        nats: dict[str, float] = defaultdict(float)
        pieces: dict[str, int] = defaultdict(int)
        for batch in groups(pairs):
            losses, rows = self.losses(batch)
            for loss, row in zip(losses.tolist(), rows.tolist()):
                for name in (batch.forms[row], "all"):
                    nats[name] += loss
                    pieces[name] += 1
        return {name: nats[name] / pieces[name] for name in sorted(nats)}
