"""Cards of trained experts, and experts as a library takes them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from multigraft.library.card import Card, HeadCard, data_fingerprint, tokenizer_fingerprint
from multigraft.library.load import bank_of, joint_of
from multigraft.library.model_folder import ModelFile, save_model
from multigraft.library.parcel import Parcel
from multigraft.library.store import EARLY
from multigraft.library.text_folder import TextModelFile, save_text_model
from multigraft.methods.shared import SharedModel
from multigraft.methods.text_model import TextModel
from multigraft.runinfo import machine
from multigraft.strategies.answering import Answering, HeadAnswering
from multigraft.strategies.experts import Trained


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


def parcels(answering: Answering, trained: Mapping[str, Trained]) -> list[Parcel]:
    """Trained experts as experts of a library, each with its embedding, under the names given."""
    recipe = answering.recipe
    model = answering.model({"any": next(iter(trained.values())).outcome.task}, recipe.method, tuned=False)
    make = maker(model, recipe.backbone_name, recipe.method, recipe.seed, 0)
    found = []
    for name, one in trained.items():
        outcome, (task, template) = one.outcome, answering.questions[one.outcome.task]
        heads = isinstance(answering, HeadAnswering)
        card = make(
            task=task.name,
            data_fingerprint=data_fingerprint(answering.train[outcome.task]),  # type: ignore[arg-type]
            scores={task.metric: outcome.dev},
            licence=task.licence,
            template=None if heads else template or recipe.templates,
        ).model_copy(
            update={
                "steps": outcome.chosen_step,
                "parents": outcome.parents,
                "embedding_step": outcome.early_step,
                "head": HeadCard(pooling=recipe.backbone.pooling, output=task.output) if heads else None,
            }
        )
        tensors = one.best() | {f"{EARLY}{key}": value for key, value in one.early().items()}
        found.append(Parcel(name, tensors, card))
    return found


def write_experts(answering: Answering, trained: Mapping[str, Trained], output: Path) -> None:
    """Trained experts, by task, as a model folder on the frozen backbone: with heads, or of a text model."""
    recipe, backbone, experts = answering.recipe, answering.backbone(), parcels(answering, trained)
    cards = {expert.name: expert.card for expert in experts}
    if isinstance(answering, HeadAnswering):
        model = joint_of(experts, backbone, recipe.backbone.pooling)
        file = ModelFile(
            suite=recipe.suite, backbone=recipe.backbone_name, backbone_fingerprint=backbone.fingerprint,
            pretrained=recipe.backbone.pretrained, seed=recipe.seed, tuned=False, pooling=recipe.backbone.pooling,
            pooler=model.heads.pooler_kind, method=recipe.method, max_length=recipe.training.max_length,
            precision=recipe.training.precision,
            tasks=tuple(answering.tasks[name].model_dump(mode="json", exclude_none=True) for name in cards),
        )  # fmt: skip
        save_model(output, model, file, cards)
        return
    text = TextModelFile(
        backbone=recipe.backbone_name, backbone_fingerprint=backbone.fingerprint,
        pretrained=recipe.backbone.pretrained, seed=recipe.seed, tuned=False, method=recipe.method,
        max_input=recipe.text.max_input, max_target=recipe.text.max_target, precision=recipe.training.precision,
        experts=tuple(cards),
    )  # fmt: skip
    save_text_model(output, TextModel(backbone, bank_of(experts, backbone), tuned=False), text, cards)
