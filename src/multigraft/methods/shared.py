"""What training and saving ask of a model of N experts on one backbone, whatever it answers with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import nn

from multigraft.backbones.load import Backbone
from multigraft.methods.bank import Bank
from multigraft.methods.stack import Stack


class SharedModel(Protocol):
    """A backbone, tuned or frozen, with stacks of experts: see `multigraft.methods.joint` and `text_model`."""

    backbone: Backbone
    bank: Bank
    tuned: bool

    @property
    def whole(self) -> bool:
        """Do all experts learn together? Else each is trained as it would be alone."""

    @property
    def prompt(self) -> int:
        """Positions in front of a text, at most."""

    def drawn(self, part: str, experts: Sequence[int]) -> Sequence[int]:
        """The rows of a stack that the `experts` of a batch use."""

    @property
    def names(self) -> list[str]:
        """The experts, in order."""

    @property
    def stacks(self) -> dict[str, Stack]:
        """What each expert has of its own, by the part that it is."""

    def shared(self) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters of what all experts use."""

    def parameters_of(self, name: str) -> int:
        """Number of parameters that belong to one expert alone."""

    def shared_parameters(self) -> int:
        """Number of parameters that all experts use."""

    def train(self, mode: bool = True) -> nn.Module:
        """Switch to training."""

    def eval(self) -> nn.Module:
        """Switch to evaluation."""
