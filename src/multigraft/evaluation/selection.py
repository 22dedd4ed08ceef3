"""Does a selector find the expert that a new task needs? Judged by what every expert would have scored.

Beside the selectors stand the backbone alone, a random expert (the exact expectation), the same expert for every
target, the target's own expert where it has one, and the oracle. The oracle is the best expert of a target, chosen on
one half of its scored rows and scored on the other, both ways round: a maximum over many noisy scores is too high.
Regret and ranks look at the scores of all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from multigraft.evaluation.source_choice import best_of_top, ndcg
from multigraft.evaluation.statistics import RESAMPLES, difference, percentiles, seed_weights
from multigraft.settings import Record

KS = (1, 3)  # of regret
BEST_SINGLE = "best_on_average"  # the selector that stands for the same expert everywhere


@dataclass(frozen=True)
class Case:
    """A target with one seed, and N experts that it may use. Scores in per cent; arrays in the order of `experts`."""

    target: str
    experts: tuple[str, ...]
    none: float  # of the backbone alone
    scores: np.ndarray  # (N,), on all scored rows
    halves: np.ndarray  # 2 N, on every other row, and on the rows between
    predicted: Mapping[str, np.ndarray]  # by selector, (N,): the higher, the better
    passes: Mapping[str, tuple[int, int]]  # by selector: rows through the backbone, and through the sentence encoder
    ways: Mapping[str, float] = field(default_factory=dict)  # scores of what uses several experts, or the target's own

    def oracle(self) -> float:
        """Score of the best expert of one half on the other."""
        first, second = self.halves
        return float((second[first.argmax()] + first[second.argmax()]) / 2)


class Way(Record):
    """A way to answer for new tasks, averaged over the targets; every target counts the same."""

    name: str
    selector: bool  # does it rank experts
    score: float  # per cent
    gain: float  # over the backbone alone, in points
    interval: tuple[float, float] | None  # 95 %, of the gain, over targets
    over_single: float | None  # points more than the same expert for all
    over_single_interval: tuple[float, float] | None
    over_single_p: float | None  # two-sided
    gap_closed: float | None  # of the gap between the same expert for all and the oracle; None where there is none
    regret: dict[int, float] | None  # points that the best of the k first is below the best, by k
    ndcg: float | None  # in [0, 1]
    median_rank: float | None  # of the first, in the oracle's order; from 1
    rank_share: float | None  # the same as a share of the experts, in (0, 1]
    backbone_passes: float | None  # rows through the backbone for one target
    encoder_passes: float | None  # and through the sentence encoder


class Selection(Record):
    """All ways over all targets."""

    targets: tuple[str, ...]
    seeds: int
    experts: float  # that a target may use, on average
    ways: tuple[Way, ...]


def judge_selectors(cases: Sequence[Case]) -> Selection:
    """What every selector and way of the cases comes to. All cases have the same selectors and ways."""
    targets = list(dict.fromkeys(case.target for case in cases))
    found: dict[str, np.ndarray] = {
        "backbone alone": _over(cases, targets, lambda case: case.none),
        "random": _over(cases, targets, lambda case: float(case.scores.mean())),
        "oracle": _over(cases, targets, Case.oracle),
    }
    found |= {name: _over(cases, targets, partial(_first, selector=name)) for name in cases[0].predicted}
    found |= {name: _over(cases, targets, partial(_of_way, way=name)) for name in cases[0].ways}
    return Selection(
        targets=tuple(targets),
        seeds=len(cases) // len(targets),
        experts=float(np.mean([len(case.experts) for case in cases])),
        ways=tuple(_way(name, values, found, cases, targets) for name, values in found.items()),
    )


def _over(cases: Sequence[Case], targets: Sequence[str], value: Callable[[Case], float]) -> np.ndarray:
    """A value of every target, the mean over its seeds: (M,)."""
    return np.array([np.mean([value(case) for case in cases if case.target == target]) for target in targets])


def _of_way(case: Case, way: str) -> float:
    return case.ways[way]


def _first(case: Case, selector: str | None) -> float:
    """Score of the expert that comes first."""
    return float(_tops(case, selector)[0])


def _tops(case: Case, selector: str | None) -> np.ndarray:
    """Score of the best of the k first, for k = 1 to N; experts with equal predictions are taken at random."""
    predicted = np.zeros(len(case.scores)) if selector is None else case.predicted[selector]
    return best_of_top(case.scores, predicted)


def _rank(case: Case, selector: str | None) -> float:
    """Place of the first expert in the order of the scores, from 1; experts with equal scores share their places."""
    predicted = np.zeros(len(case.scores)) if selector is None else case.predicted[selector]
    above = (case.scores[None] > case.scores[:, None]).sum(axis=1)
    places = 1 + above + ((case.scores[None] == case.scores[:, None]).sum(axis=1) - 1) / 2
    return float(places[predicted == predicted.max()].mean())


def _way(
    name: str, values: np.ndarray, found: Mapping[str, np.ndarray], cases: Sequence[Case], targets: Sequence[str]
) -> Way:
    shares = seed_weights(len(targets), RESAMPLES, 0) if len(targets) > 1 else None
    gains, single, oracle = values - found["backbone alone"], found.get(BEST_SINGLE), found["oracle"]
    over = None
    if single is not None and shares is not None and name != BEST_SINGLE:
        over = difference(float((values - single).mean()), np.round((values - single) @ shares, 9))
    gap = None if single is None else float((oracle - single).mean())
    selector = None if name == "random" else name
    ranks = name == "random" or name in cases[0].predicted
    passes = [case.passes.get(name) for case in cases]
    known = [one for one in passes if one is not None]
    return Way(
        name=name,
        selector=ranks,
        score=float(values.mean()),
        gain=float(gains.mean()),
        interval=None if shares is None else percentiles(gains @ shares),
        over_single=None if single is None else float((values - single).mean()),
        over_single_interval=None if over is None else over.interval,
        over_single_p=None if over is None else over.p,
        gap_closed=None if gap is None or gap <= 0 else float((values - single).mean() / gap),
        regret={k: _mean(cases, targets, partial(_regret, selector=selector, k=k)) for k in KS} if ranks else None,
        ndcg=_mean(cases, targets, lambda case: _ndcg(case, selector)) if ranks else None,
        median_rank=float(np.median([_rank(case, selector) for case in cases])) if ranks else None,
        rank_share=float(np.median([_rank(case, selector) / len(case.experts) for case in cases])) if ranks else None,
        backbone_passes=float(np.mean([one[0] for one in known])) if known else None,
        encoder_passes=float(np.mean([one[1] for one in known])) if known else None,
    )


def _mean(cases: Sequence[Case], targets: Sequence[str], value: Callable[[Case], float]) -> float:
    return float(_over(cases, targets, value).mean())


def _regret(case: Case, selector: str | None, k: int) -> float:
    return float(case.scores.max() - _tops(case, selector)[min(k, len(case.experts)) - 1])


def _ndcg(case: Case, selector: str | None) -> float:
    """1 where all experts score the same: no order is wrong."""
    predicted = np.zeros(len(case.scores)) if selector is None else case.predicted[selector]
    found = ndcg(case.scores, predicted)
    return 1.0 if found is None else found
