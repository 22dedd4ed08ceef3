"""What training and saving ask of a model of N experts on one backbone, whatever it answers with."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from multigraft.backbones.load import Backbone
from multigraft.methods.stack import Stack


class SharedModel(Protocol):
    """A backbone, tuned or frozen, with stacks of experts: see `multigraft.methods.joint` and `text_model`."""

    backbone: Backbone
    tuned: bool

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
