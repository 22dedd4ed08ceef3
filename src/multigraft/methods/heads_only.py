"""No module at all: the tasks share everything but their heads."""

from __future__ import annotations

from typing import ClassVar

from multigraft.backbones.load import Backbone
from multigraft.methods.base import Method, Place
from multigraft.methods.stack import Spec


class HeadsOnly(Method):
    """One encoder for all tasks, a head for each: hard parameter sharing.

    With the backbone tuned it is the paper's "shared BERT"; tuned on one task alone it is plain full
    fine-tuning; with the backbone frozen, a linear probe.
    """

    name: ClassVar[str] = "heads_only"
    paper: ClassVar[str] = "Caruana 1997, Multitask Learning; arXiv 1902.02671, section 3"

    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        return {}

    def places(self, backbone: Backbone) -> list[Place]:
        return []
