"""Figures over templates by hand, and intervals against simulations whose truth is known."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from multigraft.evaluation.metrics import METRICS, score
from multigraft.evaluation.statistics import interval, paired, resample
from multigraft.evaluation.template_statistics import Figure, Templated, resample_templates, summarise
from multigraft.evaluation.text_metrics import TEXT_METRICS, text_scores

FIGURES: tuple[Figure, ...] = get_args(Figure)


def right(by_template: np.ndarray, dev: Templated | None = None) -> Templated:
    """A task whose answers, (S, K, n), are 1 where they are right."""
    names = tuple(f"t{k}" for k in range(by_template.shape[1]))
    return Templated("accuracy", names, np.ones(by_template.shape[2]), by_template.astype(float), dev)


def drawn(seed: int, templates: int = 8, rows: int = 120, seeds: int = 1, share: float = 0.6) -> Templated:
    """Answers that hang on the template, the example and chance; in the mean `share` of them are right."""
    rng = np.random.default_rng(seed)
    chance = share + 0.06 * rng.choice([-1, 1], (templates, 1)) + 0.25 * rng.choice([-1, 1], rows)
    return right(rng.random((seeds, templates, rows)) < chance)


def exactly(shares: list[float], rows: int = 20) -> np.ndarray:
    """(1, K, rows) answers of which these shares are right."""
    return np.stack([np.arange(rows) < share * rows for share in shares])[None]


def test_figures_by_hand() -> None:
    dev = right(exactly([0.5, 0.5, 0.9, 0.9, 0.1]))
    found = summarise(right(exactly([0.2, 0.4, 0.5, 0.8, 1.0]), dev))
    assert found.by_template == {"t0": 20, "t1": 40, "t2": 50, "t3": 80, "t4": 100}
    assert (found.mean, found.lower_quartile, found.median, found.upper_quartile) == (58, 40, 50, 80)
    assert (found.best, found.chosen) == (50, ("t2",))  # the first of two that are equal on dev


def test_each_seed_chooses_its_own_best_template() -> None:
    dev = right(np.concatenate([exactly([0.5, 0.9]), exactly([0.9, 0.5])]))
    found = summarise(right(np.concatenate([exactly([0.2, 0.4]), exactly([0.6, 0.0])]), dev))
    assert (found.best, found.chosen, found.mean) == (50, ("t1", "t0"), 30)
    assert found.median == 30


def test_without_dev_examples_there_is_no_best() -> None:
    found = summarise(right(exactly([0.2, 0.4])))
    assert (found.best, found.chosen) == (None, ())
    with pytest.raises(ValueError, match="no dev examples"):
        resample_templates({"a": right(exactly([0.2, 0.4]))}, "best")


@pytest.mark.parametrize("figure", FIGURES)
def test_observed_is_the_summarys(figure: Figure) -> None:
    task = Templated("accuracy", drawn(0).templates, drawn(0).targets, drawn(0).answers, drawn(1))
    assert resample_templates({"a": task}, figure, resamples=5).observed["a"] == getattr(summarise(task), figure)


def test_answers_must_fit() -> None:
    with pytest.raises(ValueError, match="do not fit 2 templates and 3 rows"):
        Templated("accuracy", ("a", "b"), np.zeros(3), np.zeros((1, 3, 2)))
    with pytest.raises(ValueError, match="do not fit"):
        Templated("bleu", ("a", "b"), np.zeros(3), np.zeros((1, 2, 3)))
    with pytest.raises(ValueError, match="same templates"):
        right(exactly([0.2]), right(exactly([0.2, 0.3])))


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    covered = 0
    for trial in range(300):
        low, high = interval(resample_templates({"a": drawn(trial)}, resamples=300))
        covered += low <= 60 <= high
    assert abs(covered - 285) <= 15  # four standard deviations of a binomial


def test_intervals_that_forget_the_templates_cover_less() -> None:
    """The same simulation with the templates held fixed, which is what averages of templates are often given with."""
    covered = 0
    for trial in range(300):
        answers = drawn(trial).answers[0].mean(0)
        rng = np.random.default_rng(trial)
        low, high = np.quantile(answers[rng.integers(120, size=(300, 120))].mean(1), [0.025, 0.975])
        covered += low <= 0.6 <= high
    assert covered < 270


def test_p_is_rarely_small_when_nothing_differs() -> None:
    small = 0
    for trial in range(200):
        both = drawn(trial, seeds=2).answers
        a, b = (resample_templates({"a": right(both[s : s + 1])}, resamples=300) for s in (0, 1))
        small += paired(a, b).p <= 0.1
    assert small <= 20 + 17  # four standard deviations above what is expected


def test_pairing_sees_what_two_intervals_cannot() -> None:
    worse = drawn(0)
    mended = worse.answers.copy()
    mended[0, :, np.flatnonzero(worse.answers.mean((0, 1)) < 0.6)[:6]] = 1
    a, b = (resample_templates({"a": task}) for task in (right(mended), worse))
    result = paired(a, b)
    assert result.difference == pytest.approx(100 * (mended - worse.answers).mean())
    assert result.interval[0] > 0
    assert interval(a)[0] < interval(b)[1]


def test_one_template_is_the_plain_bootstrap() -> None:
    task = drawn(0, templates=1)
    plain = resample({"a": (task.targets, list(task.answers[:, 0]))}, {"a": "accuracy"})
    for figure in ("mean", "median", "upper_quartile"):
        found = resample_templates({"a": task}, figure)
        np.testing.assert_allclose(found.by_task["a"], plain.by_task["a"])


@pytest.mark.parametrize("figure", FIGURES)
def test_what_is_all_the_same_is_certain(figure: Figure) -> None:
    task = right(np.ones((2, 3, 10)), right(np.ones((2, 3, 4))))
    found = resample_templates({"a": task}, figure, resamples=50)
    assert interval(found) == (100, 100)
    assert paired(found, found) == (0, (0, 0), 1)


def test_templates_that_differ_widen_the_interval() -> None:
    """Examples alike, templates not: the standard error is that of a mean of five."""
    shares = np.array([0.2, 0.4, 0.5, 0.7, 0.9])
    task = right(exactly(list(shares)).repeat(30, axis=2))
    found = resample_templates({"a": task}, resamples=4000)
    by_examples = np.var(task.answers[0].mean(0)) / 600
    expected = shares.var(ddof=1) / 5 + by_examples
    assert np.std(found.by_task["a"]) / 100 == pytest.approx(np.sqrt(expected), rel=0.05)


def test_seeds_that_differ_widen_the_interval() -> None:
    answers = np.concatenate([exactly([0.9, 0.9], 1000), exactly([0.5, 0.5], 1000)])
    low, high = interval(resample_templates({"a": right(answers)}))
    assert low < 55
    assert high > 85


def test_best_counts_that_it_was_chosen() -> None:
    """Two templates as good as each other on few dev examples: either may have been taken."""
    dev = right(np.stack([np.arange(20) < 11, np.arange(20) >= 10])[None])
    found = resample_templates({"a": right(exactly([0.2, 0.8], 2000), dev)}, "best")
    assert found.observed["a"] == 20
    assert found.by_task["a"].min() < 25
    assert found.by_task["a"].max() > 75
    assert 0.3 < np.mean(found.by_task["a"] < 50) < 0.8


@pytest.mark.parametrize("metric", METRICS)
def test_any_metric_on_a_resample(metric: str) -> None:
    rng = np.random.default_rng(0)
    targets, answers = rng.integers(3, size=40), rng.integers(3, size=(2, 3, 40))
    task = Templated(metric, ("a", "b", "c"), targets, answers)
    examples = rng.integers(40, size=(4, 25))
    found = task.scores_on(examples)
    assert found.shape == (2, 3, 4)
    expected = score(metric, answers[1, 2][examples[3]], targets[examples[3]])
    assert found[1, 2, 3] == pytest.approx(expected)
    assert task.scores()[1, 0] == pytest.approx(score(metric, answers[1, 0], targets))


@pytest.mark.parametrize("metric", TEXT_METRICS)
def test_any_text_metric_on_a_resample(metric: str) -> None:
    rng = np.random.default_rng(0)
    words = np.array(["a", "red", "big", "cat", "dog", "sat", "ran", "on", "in", "mats", "houses"])
    references = [" ".join(rng.choice(words, 9)) for _ in range(12)]
    endings = [[" ".join(rng.choice(words, 4 * (i % 3))) for i in range(12)] for _ in range(2)]
    by_template = [[f"{text} {end}".strip() for text, end in zip(references, ends, strict=True)] for ends in endings]
    known = [[text] for text in references]
    answers = np.stack([text_scores(metric, texts, known).statistics for texts in by_template])[None]
    task = Templated(metric, ("a", "b"), np.array(references), answers)
    examples = rng.integers(12, size=(3, 7))
    found = task.scores_on(examples)
    assert found.shape == (1, 2, 3)
    for k, r in np.ndindex(2, 3):
        again = text_scores(metric, [by_template[k][i] for i in examples[r]], [known[i] for i in examples[r]])
        assert found[0, k, r] == pytest.approx(again.score)
    assert interval(resample_templates({"a": task}, resamples=20)) != (0, 0)


def test_averages_of_the_suite_and_of_a_cluster() -> None:
    run = {"a": drawn(0), "b": drawn(1, rows=30), "c": drawn(2, templates=3)}
    found = resample_templates(run, resamples=50)
    cluster = found.only(["a", "c"])
    assert found.mean() == pytest.approx(np.mean([found.observed[name] for name in run]))
    assert cluster.mean() == pytest.approx((found.observed["a"] + found.observed["c"]) / 2)
    np.testing.assert_allclose(cluster.averages(), (found.by_task["a"] + found.by_task["c"]) / 2)
    assert paired(cluster, cluster).difference == 0
    with pytest.raises(ValueError, match="the same tasks"):
        paired(cluster, found)


def test_other_templates_are_drawn_independently() -> None:
    """The same answers in the same templates differ by nothing; in others by as much as the templates may."""
    a = right(exactly([0.1, 0.3, 0.5, 0.7, 0.9], 400))
    b = Templated("accuracy", tuple("vwxyz"), a.targets, a.answers)
    first, same, other = (resample_templates({"a": task}, resamples=400) for task in (a, a, b))
    assert paired(first, same).interval == (0.0, 0.0)
    low, high = paired(first, other).interval
    assert low < -15 < 15 < high


def test_seeds_are_put_together() -> None:
    run = drawn(0, seeds=1)
    one = Templated(run.metric, run.templates, run.targets, run.answers, run)
    both = Templated.of_seeds([one, one])
    assert both.answers.shape == (2, *run.answers.shape[1:])
    assert both.dev is not None
    assert np.array_equal(both.scores()[1], run.scores()[0])
    assert Templated.of_seeds([run]).dev is None


def test_same_seed_same_resamples_in_any_order_of_tasks() -> None:
    run = {"a": drawn(0), "b": drawn(1)}
    turned = {"b": run["b"], "a": run["a"]}
    for figure in ("mean", "median"):
        first, second = (resample_templates(part, figure, resamples=40) for part in (run, turned))
        np.testing.assert_array_equal(first.by_task["b"], second.by_task["b"])
        assert interval(first) != interval(resample_templates(run, figure, resamples=40, seed=1))
