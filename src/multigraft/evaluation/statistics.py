"""How sure a score is: spread over seeds, bootstrap intervals and paired comparisons of runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from multigraft.evaluation.metrics import scores

# Per task: targets (n,), and the predictions of each of S seeds, (n,) each, in the order of the examples.
Predictions = Mapping[str, tuple[np.ndarray, Sequence[np.ndarray]]]

RESAMPLES = 1000
_AT_ONCE = 1_000_000  # resampled examples held in memory at a time


class Difference(NamedTuple):
    """A paired comparison of runs a and b, in per cent points."""

    difference: float  # a - b
    interval: tuple[float, float]
    p: float  # two-sided


def mean_stderr(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean of one value per seed, and its standard error; None with one seed."""
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return float(np.mean(values)), error


@dataclass(frozen=True)
class Resampled:
    """A run and its scores in every bootstrap resample, in per cent.

    Every resample draws the seeds anew, and the examples of each task; the same `seed` draws the same for any run
    over the same tasks and examples, so runs can be compared resample by resample.
    """

    over: Mapping[str, np.ndarray]  # per task the targets of the examples that were drawn from, (n,)
    observed: dict[str, float]  # per task: mean over the seeds of the score on the whole split
    by_task: dict[str, np.ndarray]  # per task: (resamples,)

    def mean(self) -> float:
        """The observed average over the tasks."""
        return float(np.mean(list(self.observed.values())))

    def averages(self) -> np.ndarray:
        """The average over the tasks in every resample, (resamples,)."""
        return np.mean(list(self.by_task.values()), axis=0)

    def only(self, tasks: Sequence[str]) -> Resampled:
        """The same resamples of some of the tasks, such as those of a cluster."""
        return Resampled(
            {task: self.over[task] for task in tasks},
            {task: self.observed[task] for task in tasks},
            {task: self.by_task[task] for task in tasks},
        )


def resample(run: Predictions, metrics: Mapping[str, str], *, resamples: int = RESAMPLES, seed: int = 0) -> Resampled:
    """Hierarchical bootstrap of a run. metrics: name of the metric of each task."""
    observed, by_task = {}, {}
    for number, task in enumerate(sorted(run)):
        targets, by_seed = np.asarray(run[task][0]), run[task][1]
        observed[task] = float(np.mean(scores(metrics[task], np.stack(list(by_seed)), targets)))
        rng = np.random.default_rng([seed, 1, number])
        by_resample = _resampled_scores(metrics[task], targets, by_seed, resamples, rng)
        by_task[task] = (by_resample * seed_weights(len(by_seed), resamples, seed)).sum(0)
    return Resampled({task: np.asarray(run[task][0]) for task in run}, observed, by_task)


def interval(found: Resampled, task: str | None = None, *, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the average score over the tasks, or of one task, in per cent."""
    return percentiles(found.averages() if task is None else found.by_task[task], level)


def paired(a: Resampled, b: Resampled, *, level: float = 0.95) -> Difference:
    """Paired comparison of the average scores of two runs over the same tasks and examples.

    Both are scored on the same resampled examples, and, where they have equally many seeds, on the same resampled
    seeds. p is twice the share of resamples in which the sign of the difference turns; where it turns in none, what a
    normal distribution of their spread says, at most 2 / (resamples + 1), so that p-values can be adjusted for many
    comparisons. Raises ValueError when the runs differ in tasks or targets.
    """
    if set(a.over) != set(b.over) or not all(_same(a.over[task], b.over[task]) for task in a.over):
        raise ValueError("a paired comparison needs the same tasks and evaluation examples")
    return difference(a.mean() - b.mean(), a.averages() - b.averages(), level)


def _same(targets: np.ndarray, others: np.ndarray) -> bool:
    """Are these the same targets? Numbers may differ by rounding, as where a head had them scaled."""
    return targets.shape == others.shape and np.allclose(targets, others, rtol=1e-6, atol=1e-4)


def difference(observed: float, resampled: np.ndarray, level: float = 0.95) -> Difference:
    """The comparison whose difference is `observed`, and `resampled` (resamples,) in every resample."""
    turned = min(int((resampled <= 0).sum()), int((resampled >= 0).sum()))
    p = min(1.0, 2 * (1 + turned) / (len(resampled) + 1))
    spread = float(resampled.std())
    if turned == 0 and spread > 0:
        p = min(p, float(2 * norm.sf(abs(resampled.mean()) / spread)))
    return Difference(observed, percentiles(resampled, level), p)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for testing them together (Holm 1979): reject those at or below the level wanted."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted


def percentiles(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The interval that holds the share `level` of the values, with equal tails."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def seed_weights(seeds: int, resamples: int, seed: int) -> np.ndarray:
    """Share of each of S seeds in every resample, (S, resamples): one draw for all tasks, as a seed is one run."""
    rng = np.random.default_rng([seed, 0, seeds])
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples).T / seeds


def draws(strata: Sequence[int], resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Indices of the examples of bootstrap resamples, (r, n) at a time, as many as fit into memory.

    strata: sizes of groups that follow one another; each is drawn from apart, and keeps its size and its place.
    """
    ends = np.cumsum(strata)
    chunk = max(1, _AT_ONCE // int(ends[-1]))
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = [rng.integers(end - size, end, (rows, size), np.int32) for size, end in zip(strata, ends, strict=True)]
        yield np.concatenate(drawn, axis=1)


def _resampled_scores(
    metric: str, targets: np.ndarray, by_seed: Sequence[np.ndarray], resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Scores of S seeds on the same resampled examples, (S, resamples)."""
    parts = [
        np.stack([scores(metric, np.asarray(one)[examples], targets[examples]) for one in by_seed])
        for examples in draws([len(targets)], resamples, rng)
    ]
    return np.concatenate(parts, axis=1)
