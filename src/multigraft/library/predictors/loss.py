"""Loss of the target under each source's prompt, without training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from multigraft.library.predictors import Known, Predictor


class Loss(Predictor):
    """How well the source's prompt answers the target as it is: minus the target's mean loss under it.

    One forward pass over a sample for each source. Scores are at most 0 for a cross entropy; that of the target's
    loss without a prompt is the same figure for no transfer.
    """

    name: ClassVar[str] = "loss"
    paper: ClassVar[str] = "none: the plain alternative to comparing prompts"
    reads: ClassVar[frozenset[str]] = frozenset({"losses"})

    def scores(self, target: Known, sources: Sequence[Known]) -> np.ndarray:
        """Minus nats (or whatever the losses are in). Reads `losses` of the target."""
        return np.array([-float(self.under(target, source, "losses", ())) for source in sources])
