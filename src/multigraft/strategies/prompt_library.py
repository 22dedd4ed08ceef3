"""Prompts in a library of experts: trained ones go in, and sources come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from multigraft.errors import UserError
from multigraft.library.card import HeadCard, data_fingerprint
from multigraft.library.load import check_backbone, split_head
from multigraft.library.parcel import Parcel
from multigraft.library.store import EARLY, Expert, Library
from multigraft.strategies.answering import Answering, HeadAnswering
from multigraft.strategies.cards import maker
from multigraft.strategies.experts import Trained


@dataclass(frozen=True)
class Stored:
    """A prompt of a library, as a source."""

    expert: Expert

    @property
    def name(self) -> str:
        """Its name in the library."""
        return self.expert.name

    def best(self) -> dict[str, Tensor]:
        """Its tensors, those of a head as `head.…`."""
        return {key: value for key, value in self.expert.tensors().items() if not key.startswith(EARLY)}

    def module(self) -> dict[str, Tensor]:
        """Those of its module."""
        return split_head(self.expert.tensors())[0]

    def early(self) -> dict[str, Tensor]:
        """Its embedding; the module itself where none was kept."""
        tensors = self.expert.tensors()
        early = {key.removeprefix(EARLY): value for key, value in tensors.items() if key.startswith(EARLY)}
        return early or self.module()


def parcels(answering: Answering, trained: Mapping[str, Trained]) -> list[Parcel]:
    """Trained experts as experts of a library, each with its embedding, under the names given."""
    recipe = answering.recipe
    model = answering.model({"any": next(iter(trained.values())).outcome.task}, recipe.method, tuned=False)
    make = maker(model, recipe.backbone_name, recipe.method, recipe.seed, 0)
    found = []
    for name, one in trained.items():
        outcome, task = one.outcome, answering.tasks[one.outcome.task]
        heads = isinstance(answering, HeadAnswering)
        card = make(
            task=task.name,
            data_fingerprint=data_fingerprint(answering.train[task.name]),  # type: ignore[arg-type]
            scores={task.metric: outcome.dev},
            licence=task.licence,
            template=None if heads else recipe.templates,
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


def stored_prompts(library: Library, answering: Answering, names: Sequence[str] | None = None) -> dict[str, Stored]:
    """The soft prompts of a library for the backbone at hand, by name.

    Raises UserError, with both fingerprints, for one of another backbone, and when there is none.
    """
    experts = [library.get(name) for name in names] if names else list(library.list(method="soft_prompt"))
    if not experts:
        raise UserError("holds no soft prompt", where=library.folder, fix="fill it with multigraft transfer map")
    for expert in experts:
        if expert.card.method["name"] != "soft_prompt":
            raise UserError(
                f"is a {expert.card.method['name']}", where=f"expert {expert.name}", fix="name soft prompts"
            )
    check_backbone(experts, answering.backbone())
    return {expert.name: Stored(expert) for expert in experts}
