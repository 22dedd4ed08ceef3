"""Is a predictor of transfer any good? Judged by a transfer matrix, and always beside what costs no prediction.

Beside it stand: no transfer, k random sources (the exact expectation of the best of k drawn without replacement), the
same k sources for every target, the largest source, and the best source of each target (oracle). A way to choose
several sources counts by the best of their runs; on the scores themselves, so that none is helped by a validation set.
Equal predictions say nothing about order: the sources that share a place are taken at random, as an expectation.

How sure it is: with several seeds, a bootstrap that draws seeds, and every choice that looks at scores is made anew
(with fewer than about five of them the intervals are too short, as few seeds say little about others); with one, a
bootstrap that draws targets, of the figures that each target has.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.stats import pearsonr, spearmanr

from multigraft.errors import UserError
from multigraft.evaluation.source_choice import best_of_top, best_single, ndcg, order_by_others
from multigraft.evaluation.statistics import RESAMPLES, difference, percentiles, seed_weights
from multigraft.evaluation.transfer_matrix import TransferMatrix
from multigraft.settings import Record

SAVED_AT = 0.9  # of the best gain
_AT_ONCE = 4_000_000  # scores of resamples held at a time

Way = tuple[str, int]  # a way to choose sources, and how many it takes


class Figures(Record):
    """A way to choose sources, averaged over the targets; every target counts the same."""

    score: float  # per cent
    gain: float  # over no transfer, in points
    relative: float | None  # part of the error that is gone, in per cent; without targets that had none
    regret: float | None  # part of the oracle's score that is lost, in per cent; without targets where that is <= 0
    interval: tuple[float, float] | None  # 95 %, of the gain


class Comparison(Record):
    """A paired difference in points: how much more the prediction gains."""

    difference: float
    interval: tuple[float, float]
    p: float  # two-sided


class BestOf(Record):
    """The best of the runs from k sources."""

    k: int
    random: Figures
    fixed: Figures | None  # the k sources that are best on average over the other targets; None with one target
    predicted: Figures | None
    over_random: Comparison | None
    over_fixed: Comparison | None


class Single(Record):
    """One source for every target."""

    source: str
    figures: Figures


class Saved(Record):
    """The least k that keeps 90 % of the oracle's mean gain, and the share of runs that it saves; None without gain."""

    random: tuple[int, float] | None
    fixed: tuple[int, float] | None
    predicted: tuple[int, float] | None


class OfTarget(Record):
    """A target by itself; what is not defined, as a correlation with equal predictions, is None."""

    target: str
    none: float
    mean: float  # over the sources
    best: float
    best_source: str
    chosen_by_others: str | None  # the source that is best on average over the other targets
    random_ndcg: float | None  # in [0, 1]: what a random order has on average
    ndcg: float | None = None
    pearson: float | None = None
    pearson_p: float | None = None  # two-sided, over the sources
    spearman: float | None = None
    spearman_p: float | None = None


class Judgement(Record):
    """All figures of a transfer matrix."""

    sources: tuple[str, ...]
    seeds: int
    interval_over: Literal["seeds", "targets"] | None  # None: one seed and one target
    cells: int
    negative_cells: int  # worse than no transfer, on average over the seeds
    no_transfer: Figures
    mean_of_sources: Figures
    best_single_source: Single  # chosen over all targets: in sample
    best_single_source_left_out: Figures | None  # chosen over the other targets
    largest_source: Figures | None
    oracle: Figures
    best_of: tuple[BestOf, ...]
    saved: Saved
    targets: tuple[OfTarget, ...]


def judge(
    matrix: TransferMatrix,
    predicted: np.ndarray | None = None,
    *,
    ks: Sequence[int] | None = None,
    sizes: np.ndarray | None = None,
) -> Judgement:
    """The judgement of a matrix of N sources and M targets.

    predicted: N x M, the higher the better; sizes: (N,). ks: how many sources are tried, by default 1 to N or 16.
    Raises UserError for a k that is not from 1 to N.
    """
    count = len(matrix.sources)
    ks = range(1, min(count, 16) + 1) if ks is None else ks
    for k in ks:
        if not 1 <= k <= count:
            raise UserError(f"k is {k}", fix=f"choose from 1 to {count}, the number of sources")
    judged = _Judged(matrix, predicted, sizes, sorted({1, count, *ks}))
    scores, many = judged.scores, len(matrix.targets) > 1
    single = int(best_single(scores))
    others = order_by_others(scores)[:, 0] if many else None
    return Judgement(
        sources=matrix.sources,
        seeds=len(matrix.none),
        interval_over=judged.over,
        cells=scores.size,
        negative_cells=int((np.round(scores - judged.none[:, None], 9) < 0).sum()),
        no_transfer=judged.figures(("none", 0)),
        mean_of_sources=judged.figures(("random", 1)),
        best_single_source=Single(source=matrix.sources[single], figures=judged.figures(("single", 1))),
        best_single_source_left_out=judged.figures(("fixed", 1)) if many else None,
        largest_source=judged.figures(("largest", 1)) if sizes is not None else None,
        oracle=judged.figures(("random", count)),
        best_of=tuple(judged.best_of(k) for k in sorted(set(ks))),
        saved=Saved(**{way: judged.saved(way) for way in Saved.model_fields}),
        targets=tuple(
            OfTarget(
                target=target,
                none=float(judged.none[t]),
                mean=float(row.mean()),
                best=float(row.max()),
                best_source=matrix.sources[int(row.argmax())],
                chosen_by_others=None if others is None else matrix.sources[int(others[t])],
                random_ndcg=ndcg(row, np.zeros(count)),
                **({} if predicted is None else _agreement(row, predicted[:, t])),
            )
            for t, (target, row) in enumerate(zip(matrix.targets, scores))
        ),
    )


class _Judged:
    """A matrix, its ways to choose sources, and their gains in every resample. Scores here are M x N, sources last."""

    def __init__(
        self, matrix: TransferMatrix, predicted: np.ndarray | None, sizes: np.ndarray | None, ks: list[int]
    ) -> None:
        self.predicted, self.sizes = predicted, sizes
        by_seed = matrix.scores.swapaxes(1, 2)  # S x M x N
        self.scores, self.none = by_seed.mean(axis=0), matrix.none.mean(axis=0)
        every = list(range(1, len(matrix.sources) + 1))
        self.values = self._values(self.scores, self.none, every)
        seeds, targets = matrix.none.shape
        self.over: Literal["seeds", "targets"] | None = "seeds" if seeds > 1 else "targets" if targets > 1 else None
        self.resampled: dict[Way, np.ndarray] = {}  # (RESAMPLES,)
        if self.over == "seeds":
            self.resampled = self._over_seeds(by_seed, matrix.none, ks)
        elif self.over == "targets":
            # Targets are drawn as seeds are: each resample gives every one of them its share.
            shares = seed_weights(targets, RESAMPLES, 0)
            self.resampled = {way: (of - self.none) @ shares for way, of in self.values.items()}

    def _over_seeds(self, by_seed: np.ndarray, none: np.ndarray, ks: list[int]) -> dict[Way, np.ndarray]:
        shares = seed_weights(len(none), RESAMPLES, 0).T
        parts: list[dict[Way, np.ndarray]] = []
        step = max(1, _AT_ONCE // self.scores.size)
        for start in range(0, RESAMPLES, step):
            of = shares[start : start + step]
            scores, without = np.tensordot(of, by_seed, 1), of @ none
            parts.append(_gains(self._values(scores, without, ks), without))
        return {way: np.concatenate([part[way] for part in parts]) for way in parts[0]}

    def _values(self, scores: np.ndarray, none: np.ndarray, ks: list[int]) -> dict[Way, np.ndarray]:
        """Every way's scores (..., M), from scores (..., M, N)."""
        count, targets = scores.shape[-1], scores.shape[-2]
        equal = np.zeros(count)
        ways: dict[Way, np.ndarray] = {("none", 0): none}
        ways["single", 1] = np.take_along_axis(scores, best_single(scores)[..., None, None], axis=-1)[..., 0]
        if self.sizes is not None:
            ways["largest", 1] = best_of_top(scores, self.sizes)[..., 0]
        families = {"random": best_of_top(scores, equal)}
        if targets > 1:
            ordered = np.take_along_axis(scores, order_by_others(scores), axis=-1)
            families["fixed"] = np.maximum.accumulate(ordered, axis=-1)
        if self.predicted is not None:
            by_target = [best_of_top(scores[..., t, :], self.predicted[:, t]) for t in range(targets)]
            families["predicted"] = np.stack(by_target, axis=-2)
        return ways | {(name, k): values[..., k - 1] for name, values in families.items() for k in ks}

    def figures(self, way: Way) -> Figures:
        values, best, error = self.values[way], self.scores.max(axis=-1), 100 - self.none
        gains = values - self.none
        wrong, positive = error > 0, best > 0
        return Figures(
            score=float(values.mean()),
            gain=float(gains.mean()),
            relative=float((100 * gains[wrong] / error[wrong]).mean()) if wrong.any() else None,
            regret=float((100 * (best - values)[positive] / best[positive]).mean()) if positive.any() else None,
            interval=percentiles(self.resampled[way]) if self.resampled else None,
        )

    def best_of(self, k: int) -> BestOf:
        families = {name: self.figures((name, k)) if (name, k) in self.values else None for name in
                    ("random", "fixed", "predicted")}  # fmt: skip
        return BestOf(k=k, **families, over_random=self._over("random", k), over_fixed=self._over("fixed", k))

    def _over(self, other: str, k: int) -> Comparison | None:
        mine, theirs = ("predicted", k), (other, k)
        if not self.resampled or mine not in self.resampled or theirs not in self.resampled:
            return None
        observed = float((self.values[mine] - self.values[theirs]).mean())
        # Rounded: p counts signs, and two ways to the same sources may differ by a rounding.
        resampled = np.round(self.resampled[mine] - self.resampled[theirs], 9)
        return Comparison(**difference(observed, resampled)._asdict())

    def saved(self, family: str) -> tuple[int, float] | None:
        count = self.scores.shape[-1]
        gains = {k: gain for (name, k), gain in _gains(self.values, self.none).items() if name == family}
        enough = SAVED_AT * float((self.scores.max(axis=-1) - self.none).mean())
        if not gains or enough <= 0:
            return None
        k = next(k for k in range(1, count + 1) if gains[k] >= enough - 1e-9)
        return k, 1 - k / count


def _gains(values: dict[Way, np.ndarray], none: np.ndarray) -> dict[Way, np.ndarray]:
    """Mean gain over the targets, (...), of every way's scores (..., M)."""
    return {way: (of - none).mean(axis=-1) for way, of in values.items()}


def _agreement(scores: np.ndarray, predicted: np.ndarray) -> dict[str, float | None]:
    """NDCG and correlations of predictions (N,) with scores (N,)."""
    found: dict[str, float | None] = {"ndcg": ndcg(scores, predicted)}
    if len(scores) > 2 and np.ptp(scores) and np.ptp(predicted):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nearly constant input: the figure stands, or is NaN
            for name, correlation in (("pearson", pearsonr), ("spearman", spearmanr)):
                result = correlation(predicted, scores)
                if np.isfinite([result.statistic, result.pvalue]).all():
                    found |= {name: float(result.statistic), f"{name}_p": float(result.pvalue)}
    return found
