"""The prompts of a library of experts, as sources."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from multigraft.errors import UserError
from multigraft.library.load import check_backbone, early_of, split_head
from multigraft.library.store import EARLY, Expert, Library
from multigraft.strategies.answering import Answering


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
        return early_of(tensors) or split_head(tensors)[0]


def stored_prompts(library: Library, answering: Answering) -> dict[str, Stored]:
    """The soft prompts of a library for the backbone at hand, by name.

    Raises UserError, with both fingerprints, for one of another backbone, and when there is none.
    """
    experts = list(library.list(method="soft_prompt"))
    if not experts:
        raise UserError("holds no soft prompt", where=library.folder, fix="fill it with multigraft transfer map")
    check_backbone(experts, answering.backbone())
    return {expert.name: Stored(expert) for expert in experts}
