"""What to do with a ranking of sources (arXiv 2110.07904, section 4.2): plans, without training anything.

Scores are those of a predictor, or on a validation set: by source, the higher the better.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from multigraft.errors import UserError


def top(scores: Mapping[str, float], k: int) -> list[str]:
    """The k best sources, best first; equal ones in the order given.

    The candidates of best of top-k, and the survivors of a round of `successive_halving`. Raises UserError when k
    is not from 1 to N.
    """
    if not 1 <= k <= len(scores):
        raise UserError(f"k is {k}", fix=f"choose from 1 to {len(scores)}, the number of sources")
    return sorted(scores, key=lambda source: -scores[source])[:k]


def best_of(scores: Mapping[str, float], k: int, validation: Mapping[str, float]) -> str:
    """Best of top-k: the one of the k best sources whose run does best on validation.

    Raises UserError when a run has no validation score.
    """
    candidates = top(scores, k)
    missing = [source for source in candidates if source not in validation]
    if missing:
        raise UserError(f"no validation score of the run from {missing[0]!r}", fix="train from it first")
    return top({source: validation[source] for source in candidates}, 1)[0]


def average_weights(scores: Mapping[str, float], k: int) -> dict[str, float]:
    """Top-k weighted average: the weights alpha_r = sim_r / sum over the k best, by source; they sum to 1.

    The paper's formula has no sense where similarities are negative or their sum is near zero. Here a similarity
    that is not positive counts as 0, so that weights stay in [0, 1]; where none of the k is positive, they say
    nothing about shares and each source weighs 1 / k.
    """
    chosen = top(scores, k)
    positive = np.array([max(scores[source], 0.0) for source in chosen])
    if not positive.any():
        return dict.fromkeys(chosen, 1 / k)
    shares = positive / positive.max()  # first, so that the sum cannot overflow
    return dict(zip(chosen, (shares / shares.sum()).tolist(), strict=True))


def weighted_average(prompts: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """The prompt P x D that is the sum of prompts by their weights. Raises UserError when prompts differ in shape."""
    first = next(iter(weights))
    total = np.zeros(prompts[first].shape)
    for source, weight in weights.items():
        if prompts[source].shape != total.shape:
            shapes = [" x ".join(map(str, prompts[name].shape)) for name in (first, source)]
            raise UserError(f"the prompt of {first!r} is {shapes[0]}, that of {source!r} {shapes[1]}",
                            fix="average prompts of one length and one backbone")  # fmt: skip
        total += weight * prompts[source]
    return total


def mixture_members(scores: Mapping[str, float], k: int, target: str) -> list[str]:
    """Top-k mixture: the tasks of the mixture, the k best sources and then the target itself.

    A prompt is tuned on them, examples-proportional, and then on the target alone.
    """
    return [*top({source: score for source, score in scores.items() if source != target}, k), target]


class Round(NamedTuple):
    """A round of successive halving: the best `candidates` of the last one each train for `steps` more steps."""

    candidates: int
    steps: int


def successive_halving(k: int, steps: int) -> list[Round]:
    """Rounds that find a good one of k candidates with the `steps` of a single run, all rounds together.

    Every round gets the same share of the steps and keeps the better half, rounded up, of its candidates, by their
    validation scores (Jamieson and Talwalkar 2016, arXiv 1502.07943, section 3); the last round trains the one
    that is left, which the paper does not. Of k = 4 and 12 steps: four candidates of 1 step, two of 2 more, one
    of 4 more. What a round cannot divide goes to the last one, so that the steps are spent exactly. Raises
    UserError when there are too few steps for each candidate to take one in every round.
    """
    if k < 1:
        raise UserError(f"k is {k}", fix="choose at least one candidate")
    counts = [k]
    while counts[-1] > 1:
        counts.append((counts[-1] + 1) // 2)
    if steps < k * len(counts):
        raise UserError(f"{steps} steps are too few to halve {k} candidates", fix=f"give at least {k * len(counts)}")
    rounds = [Round(count, steps // len(counts) // count) for count in counts[:-1]]
    return [*rounds, Round(1, steps - sum(count * each for count, each in rounds))]
