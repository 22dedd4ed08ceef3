"""What `pocket` has to beat on held-out text: nats per target piece of two models that know no language."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from pocket_objectives import Pair

_SMOOTHING = 0.1  # added to the count of every piece


def unigram(pairs: Sequence[Pair], vocabulary: int) -> np.ndarray:
    """Probability of every word piece (V): its smoothed frequency in the targets."""
    pieces = np.concatenate([pair.target for pair in pairs])
    counts = np.bincount(pieces, minlength=vocabulary) + _SMOOTHING
    return counts / counts.sum()


def unigram_nats(pairs: Sequence[Pair], words: np.ndarray) -> dict[str, float]:
    """Mean nats per target piece, by form and over all, of a model that draws pieces from `words`."""
    return _means({form: [-np.log(words[pair.target]) for pair in group] for form, group in _by_form(pairs).items()})


def copy_nats(pairs: Sequence[Pair], words: np.ndarray, fitted_on: Sequence[Pair]) -> dict[str, float]:
    """The same for a mixture of `words` and of the pieces of the input, as often as they stand there.

    The share of copying is the best of a grid on the pairs `fitted_on`, for each form by itself.
    """
    fit, found = _by_form(fitted_on), {}
    for form, group in _by_form(pairs).items():
        shares = np.linspace(0, 0.99, 34)
        costs = [sum(_mixed(pair, words, share).sum() for pair in fit[form]) for share in shares]
        best = float(shares[int(np.argmin(costs))])
        found[form] = [_mixed(pair, words, best) for pair in group]
    return _means(found)


def _mixed(pair: Pair, words: np.ndarray, share: float) -> np.ndarray:
    copied = (np.array(pair.input)[None, :] == np.array(pair.target)[:, None]).mean(axis=1)
    return -np.log(share * copied + (1 - share) * words[pair.target])


def _by_form(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    found: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        found[pair.form].append(pair)
    return found


def _means(nats: dict[str, list[np.ndarray]]) -> dict[str, float]:
    joined = {form: np.concatenate(values) for form, values in sorted(nats.items())}
    return {
        "all": float(np.concatenate(list(joined.values())).mean()),
        **{f: float(v.mean()) for f, v in joined.items()},
    }
