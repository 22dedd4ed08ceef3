"""Cards of the experts of a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from multigraft.library.card import Card, tokenizer_fingerprint
from multigraft.methods.shared import SharedModel
from multigraft.runinfo import machine


class Make(Protocol):
    """Makes the card of one expert from what it has of its own."""

    def __call__(
        self, *, task: str, data_fingerprint: str, scores: dict[str, float], licence: str, template: str | None = None
    ) -> Card: ...


def maker(model: SharedModel, backbone: str, method: Mapping[str, Any], seed: int, step: int) -> Make:
    """What makes the cards of a model's experts; what they have in common is computed once."""
    shared = model.backbone
    return partial(
        Card,
        method=dict(method),
        backbone=backbone,
        backbone_fingerprint=shared.weights_fingerprint() if model.tuned else shared.fingerprint,
        tokenizer_fingerprint=tokenizer_fingerprint(shared.tokenizer),
        seed=seed,
        steps=step,
        parents=(),
        versions={key: value for key, value in machine().items() if key in ("multigraft", "torch", "transformers")},
        template=None,
    )
