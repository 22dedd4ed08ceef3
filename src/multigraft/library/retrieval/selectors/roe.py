"""Retrieval of Experts: the expert whose training texts are nearest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from multigraft.library.retrieval.index import EQUAL, Neighbour
from multigraft.library.retrieval.selectors import Candidate, Cost, Selector, Target, ranks
from multigraft.library.retrieval.votes import Votes


class RetrievalOfExperts(Selector):
    """Each instance of the target votes for the expert of its nearest key.

    `Index` and `Votes` find the same for a library of any size. Here, experts without a vote are ranked, too: behind
    the others, by the mean inner product of the instances and their nearest keys.
    """

    name: ClassVar[str] = "roe"
    paper: ClassVar[str] = "arXiv 2302.03202, Retrieval of Experts"
    reads: frozenset[str] = frozenset({"keys", "texts"})

    def scores(self, target: Target, experts: Sequence[Candidate]) -> np.ndarray:
        """Minus the place: 0, -1, -2, .... Reads `texts`, and experts' `keys`."""
        texts = self.array(target, "texts", (-1, -1))
        keys = [self.array(expert, "keys", (-1, texts.shape[1])) for expert in experts]
        names = [expert.name for expert in experts]
        if not experts:
            return np.zeros(0)
        near = np.stack([(texts @ own.T).max(axis=1) for own in keys], axis=1)  # Q x N
        votes = Votes()
        for row in near:
            best = float(row.max())
            votes.add([[Neighbour(names[i], best) for i in np.flatnonzero(row >= best - EQUAL)]])
        order = [place.expert for place in votes.ranking()]
        behind = [i for i in np.argsort(ranks(near.mean(axis=0), names)) if names[i] not in order]
        places = {name: place for place, name in enumerate([*order, *(names[i] for i in behind)])}
        return np.array([-places[name] for name in names], np.float64)

    def cost(self, target: Target, experts: Sequence[Candidate]) -> Cost:
        """Q texts embedded, whatever the number of experts."""
        return Cost(0, len(self.array(target, "texts", (-1, -1))))
