"""What ways to choose source tasks come to, by the scores of a target from each of N sources."""

from __future__ import annotations

import numpy as np


def best_of_top(scores: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The best of the k sources that are predicted best, for k = 1 to N: (..., N) of scores (..., N).

    Of sources with equal predictions (N,) each choice is equally likely: the exact expectation. With all of them equal
    that is the best of k random sources, drawn without replacement.
    """
    found, sure, done = np.empty(scores.shape), np.full((*scores.shape[:-1], 1), -np.inf), 0
    for value in np.unique(predicted)[::-1]:
        tied = np.sort(np.maximum(scores[..., predicted == value], sure), axis=-1)
        size = tied.shape[-1]
        found[..., done : done + size] = tied @ _chances(size)
        sure, done = tied[..., -1:], done + size
    return found


def ndcg(scores: np.ndarray, predicted: np.ndarray) -> float | None:
    """Normalised discounted cumulative gain of a predicted order of N sources, in [0, 1]; None for equal scores.

    Järvelin and Kekäläinen 2002, with a source's score above the worst one as its gain, and 1 / log2(1 + place) as
    the discount. Sources with equal predictions share their places' discounts. The worst order does not have 0.
    """
    gains = scores - scores.min()
    if not gains.any():
        return None
    discounts = 1 / np.log2(np.arange(2, len(scores) + 2))
    _, places, sizes = np.unique(-predicted, return_inverse=True, return_counts=True)
    shared = np.add.reduceat(discounts, np.cumsum(sizes) - sizes) / sizes
    return float(gains @ shared[places] / (np.sort(gains)[::-1] @ discounts))


def best_single(scores: np.ndarray) -> np.ndarray:
    """The source that is best on average over the targets, of scores (..., M, N)."""
    return np.round(scores.mean(axis=-2), 9).argmax(axis=-1)


def order_by_others(scores: np.ndarray) -> np.ndarray:
    """For each target the sources in the order of their average over the other targets: (..., M, N)."""
    others = scores.sum(axis=-2, keepdims=True) - scores
    return np.argsort(-np.round(others, 9), axis=-1, kind="stable")


def _chances(n: int) -> np.ndarray:
    """Chance that the i-th smallest of n is the largest of k drawn without replacement, for i, k = 1..n: n x n."""
    chances, k = np.zeros((n, n)), np.arange(1, n + 1)
    chances[-1] = k / n
    for i in range(n - 1, 0, -1):
        chances[i - 1] = chances[i] * np.maximum(i + 1 - k, 0) / i  # C(i - 1, k - 1) / C(i, k - 1)
    return chances
