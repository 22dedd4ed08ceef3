"""Scores of a task that is asked in several templates: figures over the templates, and how sure they are.

What is assumed: the examples are drawn at random from those of the task, and the templates from the wordings that one
might write for it. Both are drawn anew in every resample, each example with all templates, as every template words the
same examples (a bootstrap of both sides of a table: Owen 2007, "The pigeonhole bootstrap", which for means errs, if
at all, towards intervals that are too wide). Of K templates K - 1 are drawn, which makes the variance of their mean
unbiased (Rao and Wu 1988); with fewer than about five of them the interval is still too short, as few templates say
little about others, and with one it is that of this template alone. Seeds are a third level, drawn as
`statistics.resample` does. The best template is one of those at hand, so for its figure they are not drawn anew; the
examples on which it is chosen are.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from multigraft.evaluation.metrics import METRICS, scores
from multigraft.evaluation.statistics import RESAMPLES, Resampled, draws, seed_weights
from multigraft.evaluation.text_metrics import scores_of_sums

Figure = Literal["mean", "best", "lower_quartile", "median", "upper_quartile"]
_SHARE: dict[Figure, float] = {"lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75}


@dataclass(frozen=True)
class Templated:
    """What S models, trained alike with S seeds, answered to n examples of a task in each of K templates."""

    metric: str
    templates: tuple[str, ...]  # K names
    targets: np.ndarray  # (n,): right answers, as `metrics.scores` takes them; for texts, a reference of each
    answers: np.ndarray  # (S, K, n) as `metrics.scores` takes them; for texts, `TextScore.statistics`: (S, K, n, W)
    dev: Templated | None = None  # the same models and templates on the examples that the best template is chosen by

    def __post_init__(self) -> None:
        dimensions = 3 if self.metric in METRICS else 4
        if self.answers.ndim != dimensions or self.answers.shape[1:3] != (len(self.templates), len(self.targets)):
            raise ValueError(
                f"answers {self.answers.shape} do not fit {len(self.templates)} templates and {len(self.targets)} rows"
            )
        if self.dev and (self.dev.templates, len(self.dev.answers)) != (self.templates, len(self.answers)):
            raise ValueError("the best template is chosen among the same templates, for the same seeds")

    @classmethod
    def of_seeds(cls, runs: Sequence[Templated]) -> Templated:
        """Answers of models trained alike with different seeds as one, in their order."""
        first = runs[0]
        dev = [run.dev for run in runs if run.dev is not None]
        stacked = np.concatenate([run.answers for run in runs])
        return cls(first.metric, first.templates, first.targets, stacked, cls.of_seeds(dev) if dev else None)

    def scores(self) -> np.ndarray:
        """The score of every seed and template, in per cent: (S, K)."""
        return self.scores_on(np.arange(len(self.targets))[None])[..., 0]

    def scores_on(self, examples: np.ndarray) -> np.ndarray:
        """The same of resamples, whose examples are given by their indices (r, m): (S, K, r)."""
        if self.metric in METRICS:
            by_seed = [[scores(self.metric, one[examples], self.targets[examples]) for one in k] for k in self.answers]
            return np.array(by_seed)
        # How often each example is in a resample, times what it adds: (r, n) @ (S, K, n, W).
        resamples, rows = len(examples), len(self.targets)
        places = (examples + np.arange(resamples)[:, None] * rows).ravel()
        counts = np.bincount(places, minlength=resamples * rows).reshape(resamples, rows).astype(np.float64)
        return scores_of_sums(self.metric, counts @ self.answers, examples.shape[1])


class Summary(NamedTuple):
    """Figures over K templates, in per cent; with several seeds, the mean over them of each seed's figure."""

    by_template: dict[str, float]
    mean: float
    best: float | None  # of the template that is best on the dev examples; None without any
    chosen: tuple[str, ...]  # that template, for each seed
    lower_quartile: float
    median: float
    upper_quartile: float


def summarise(task: Templated) -> Summary:
    """The paper's two figures, mean and best on dev (arXiv 2109.01652, section 3), and the spread of the templates."""
    by_seed = task.scores()
    low, median, high = (float(_figure(name, by_seed).mean()) for name in _SHARE)
    best, chosen = None, ()
    if task.dev is not None:
        dev = task.dev.scores()
        best = float(_best(by_seed[..., None], dev[..., None]).mean())
        chosen = tuple(task.templates[k] for k in dev.argmax(1))
    by_template = dict(zip(task.templates, by_seed.mean(0).tolist(), strict=True))
    return Summary(by_template, float(by_seed.mean()), best, chosen, low, median, high)


def resample_templates(
    run: Mapping[str, Templated], figure: Figure = "mean", *, resamples: int = RESAMPLES, seed: int = 0
) -> Resampled:
    """Hierarchical bootstrap of a figure over templates, for `statistics.interval` and `statistics.paired`.

    The same `seed` draws the same examples for any run over the same tasks, and the same templates for any run in the
    same templates; those of runs in others are drawn independently. Averages over the suite or
    over a cluster (`Resampled.only`) count every task the same. Raises ValueError for `best` without dev examples.
    """
    observed, by_task = {}, {}
    for number, name in enumerate(sorted(run)):
        task = run[name]
        by_template, found = task.scores()[..., None], _on_resamples(task, resamples, [seed, 1, number])
        if figure == "best":
            if task.dev is None:
                raise ValueError(f"task {name!r} has no dev examples to choose its best template by")
            observed[name] = float(_best(by_template, task.dev.scores()[..., None]).mean())
            by_seed = _best(found, _on_resamples(task.dev, resamples, [seed, 3, number]))
        else:
            observed[name] = float(_figure(figure, by_template[..., 0]).mean())
            named = zlib.crc32("\n".join(task.templates).encode())
            chosen = _templates(len(task.templates), resamples, [seed, 2, number, named])
            by_seed = _figure(figure, np.take_along_axis(found.swapaxes(1, 2), chosen[None], axis=2))
        by_task[name] = (by_seed * seed_weights(len(by_seed), resamples, seed)).sum(0)
    return Resampled({name: task.targets for name, task in run.items()}, observed, by_task)


def _on_resamples(task: Templated, resamples: int, key: list[int]) -> np.ndarray:
    """Scores of every seed and template on resampled examples, (S, K, resamples)."""
    drawn = draws([len(task.targets)], resamples, np.random.default_rng(key))
    return np.concatenate([task.scores_on(examples) for examples in drawn], axis=2)


def _templates(count: int, resamples: int, key: list[int]) -> np.ndarray:
    """The templates of every resample, (resamples, K - 1), or (resamples, 1) of a single one."""
    return np.random.default_rng(key).integers(count, size=(resamples, max(1, count - 1)))


def _figure(figure: Figure, by_template: np.ndarray) -> np.ndarray:
    """A figure over the last axis, the templates."""
    return by_template.mean(-1) if figure == "mean" else np.quantile(by_template, _SHARE[figure], axis=-1)


def _best(scores: np.ndarray, dev: np.ndarray) -> np.ndarray:
    """Of (S, K, r) the scores of the templates that are best in `dev`, (S, r); the first of equal ones."""
    return np.take_along_axis(scores, dev.argmax(1)[:, None], axis=1)[:, 0]
