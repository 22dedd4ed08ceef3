"""Size of the source's training set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from multigraft.library.predictors import Known, Predictor


class Size(Predictor):
    """The largest source first, whatever the target: a baseline that knows nothing of either."""

    name: ClassVar[str] = "size"
    paper: ClassVar[str] = "baseline of Poth et al. 2021, arXiv 2104.08247"
    reads: ClassVar[frozenset[str]] = frozenset({"size"})

    def scores(self, target: Known, sources: Sequence[Known]) -> np.ndarray:
        """Numbers of training examples. Reads `size` of the sources."""
        return np.array([float(self.array(source, "size", ())) for source in sources])
