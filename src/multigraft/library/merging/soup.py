"""Model soup: a mean over those models that make it better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from multigraft.library.merging.base import Combination, Score


class Soup(Combination):
    """Greedy: from the best model down, each joins the mean if the score on held-out data does not fall."""

    name: ClassVar[str] = "soup"
    paper: ClassVar[str] = "Wortsman et al. 2022, arXiv 2203.05482, recipe 1"
    needs: ClassVar[frozenset[str]] = frozenset({"score"})
    idempotent: ClassVar[bool] = True

    def weigh(self, weights: Sequence[float] | None, count: int, score: Score | None) -> tuple[float, ...]:
        """1/k for the k models that are in, 0 for the others, after at most 2 N - 1 calls of the score."""
        assert score is not None
        alone = [score(_mean([model], count)) for model in range(count)]
        first, *others = sorted(range(count), key=lambda model: -alone[model])
        chosen, best = [first], alone[first]
        for model in others:
            found = score(_mean([*chosen, model], count))
            if found >= best:
                chosen, best = [*chosen, model], found
        return _mean(chosen, count)


def _mean(chosen: Sequence[int], count: int) -> tuple[float, ...]:
    return tuple(1 / len(chosen) if model in chosen else 0.0 for model in range(count))
