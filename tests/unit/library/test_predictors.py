"""Every predictor against its definition, and what it says to records that do not suit it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from multigraft.errors import UserError
from multigraft.library.predictors import PREDICTORS, Known
from multigraft.library.predictors.logme import max_log_evidence
from multigraft.library.similarity import similarity_matrices

NAMES = ["average_tokens", "fisher", "logme", "loss", "per_token", "size", "text"]
SOURCES = ("near", "far", "other")


def known(name: str, seed: int) -> Known:
    """A task of which everything is known."""
    rng = np.random.default_rng(seed)
    return Known(
        name,
        prompt=rng.standard_normal((4 + seed, 6)),
        texts=rng.standard_normal((10 + seed, 5)),
        fisher=rng.random((3, 6)),
        size=100 * seed,
        labels=rng.integers(3, size=20),
        features={source: rng.standard_normal((20, 4)) for source in SOURCES},
        losses={source: float(rng.random()) for source in SOURCES},
    )


TARGET, KNOWN = known("target", 0), [known(name, seed) for seed, name in enumerate(SOURCES, 1)]


def scores(name: str, target: Known = TARGET, sources: list[Known] = KNOWN) -> np.ndarray:
    return PREDICTORS.get(name)().scores(target, sources)


def test_all_are_found() -> None:
    assert PREDICTORS.names() == NAMES
    assert all(predictor.paper for predictor in PREDICTORS.all().values())


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_one_for_each_source(name: str) -> None:
    found = scores(name)
    assert found.shape == (3,)
    assert np.isfinite(found).all()
    turned = scores(name, sources=KNOWN[::-1])
    assert np.array_equal(turned, found[::-1])
    assert scores(name, sources=[]).shape == (0,)


@pytest.mark.parametrize("name", ["average_tokens", "per_token"])
def test_prompts_compare_as_in_the_matrix(name: str) -> None:
    prompts = [task.prompt for task in (TARGET, *KNOWN) if task.prompt is not None]
    assert scores(name) == pytest.approx(similarity_matrices(prompts)[name][0, 1:], abs=1e-12)


def test_text_is_the_cosine_of_mean_embeddings() -> None:
    assert TARGET.texts is not None
    mean = TARGET.texts.mean(0)
    same = replace(KNOWN[0], texts=np.stack([3 * mean, 5 * mean]))
    opposite = replace(KNOWN[1], texts=-TARGET.texts)
    assert scores("text", sources=[same, opposite]) == pytest.approx([1, -1])


def test_fisher_by_hand() -> None:
    target = replace(TARGET, fisher=np.array([1.0, 3.0, 0.0]))
    sources = [
        replace(KNOWN[0], fisher=np.array([5.0, 15.0, 0.0])),  # the same but for scale: shares 5/6 and 1/6 everywhere
        replace(KNOWN[1], fisher=np.array([3.0, 1.0, 0.0])),  # shares (3/4, 1/4, 0) and (1/4, 3/4, 0)
        replace(KNOWN[2], fisher=np.array([0.0, 0.0, 2.0])),  # nothing in common
    ]
    assert scores("fisher", target, sources) == pytest.approx([1, 6 / 10, 0])
    uneven = replace(KNOWN[0], fisher=np.array([1.0, 1.0, 0.0]))  # shares (1/2, 1/4, 0) and (1/2, 3/4, 0)
    assert scores("fisher", target, [uneven])[0] == pytest.approx(7 / np.sqrt(5 * 13))


@given(st.lists(st.tuples(st.floats(0, 1e300), st.floats(0, 1e300)), min_size=1, max_size=6))
def test_fisher_is_symmetric_and_a_cosine(pairs: list[tuple[float, float]]) -> None:
    first, second = (replace(TARGET, fisher=np.array(side)) for side in zip(*pairs))
    there, back = scores("fisher", first, [second])[0], scores("fisher", second, [first])[0]
    assert there == pytest.approx(back)
    assert 0 <= there <= 1 + 1e-12


def test_loss_and_size_are_what_they_say() -> None:
    assert scores("loss").tolist() == [-TARGET.losses[source] for source in SOURCES]
    assert scores("size").tolist() == [100, 200, 300]


def log_evidence(features: np.ndarray, y: np.ndarray, alpha: float, beta: float) -> float:
    """log p(y) with y ~ N(0, F F' / alpha + I / beta), computed directly."""
    covariance = features @ features.T / alpha + np.eye(len(y)) / beta
    return float(multivariate_normal.logpdf(y, np.zeros(len(y)), covariance))


@pytest.mark.parametrize(("n", "width"), [(30, 4), (12, 40), (25, 25)])
@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_evidence_is_the_largest_that_direct_computation_finds(n: int, width: int, noise: float) -> None:
    rng = np.random.default_rng(n)
    features = rng.standard_normal((n, width))
    y = features @ rng.standard_normal(width) + noise * rng.standard_normal(n)

    def lost(logs: np.ndarray) -> float:
        return -log_evidence(features, y, *np.exp(logs))

    starts = [(a, b) for a in (-2.0, 2.0) for b in (-2.0, 2.0)]
    bounds = [(-8, 8), (-8, 8)]
    direct = -min(minimize(lost, start, bounds=bounds, method="Nelder-Mead").fun for start in starts)
    assert max_log_evidence(features, y[:, None])[0] == pytest.approx(direct, abs=2e-3 * abs(direct))
    assert max_log_evidence(features, y[:, None])[0] >= direct - 1e-6


def test_evidence_agrees_with_the_fixed_point_of_the_paper() -> None:
    rng = np.random.default_rng(3)
    features = rng.standard_normal((40, 6))
    y = features @ rng.standard_normal(6) + rng.standard_normal(40)
    alpha = beta = 1.0
    for _ in range(200):
        precision = alpha * np.eye(6) + beta * features.T @ features
        mean = beta * np.linalg.solve(precision, features.T @ y)
        gamma = 6 - alpha * np.trace(np.linalg.inv(precision))
        alpha, beta = gamma / (mean @ mean), (40 - gamma) / ((y - features @ mean) ** 2).sum()
    assert max_log_evidence(features, y[:, None])[0] == pytest.approx(log_evidence(features, y, alpha, beta))


def test_features_that_say_nothing_leave_the_noise() -> None:
    y = np.array([1.0, -2.0, 2.0])
    plain = -3 / 2 * (np.log(2 * np.pi * 3) + 1)  # N(0, 3), 3 being the mean square of y
    assert max_log_evidence(np.zeros((3, 2)), y[:, None]) == pytest.approx([plain])
    assert max_log_evidence(np.array([[2.0], [1.0], [0.0]]), y[:, None])[0] == pytest.approx(plain, abs=1e-6)


def test_the_scale_of_features_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    features, columns = rng.standard_normal((20, 5)), rng.standard_normal((20, 2))
    assert max_log_evidence(1e5 * features, columns) == pytest.approx(max_log_evidence(features, columns))


@pytest.mark.parametrize("numbers", [False, True], ids=["classes", "numbers"])
def test_logme_prefers_features_that_know_the_labels(numbers: bool) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=60)
    truth = labels.astype(np.float64) if numbers else np.eye(3)[labels]
    features = {
        source: np.column_stack([truth, np.ones(60)]) @ rng.standard_normal((1 + truth[0].size, 8)) * signal
        + rng.standard_normal((60, 8))
        for source, signal in (("near", 2.0), ("other", 0.5), ("far", 0.0))
    }
    target = replace(TARGET, labels=truth if numbers else labels, features=features)
    near, far, other = scores("logme", target)
    assert near > other > far


def test_logme_averages_over_classes_and_counts_per_example() -> None:
    assert TARGET.labels is not None
    columns = np.eye(3)[TARGET.labels]
    expected = max_log_evidence(TARGET.features["near"], columns).mean() / 20
    assert scores("logme")[0] == pytest.approx(expected)
    renamed = replace(TARGET, labels=TARGET.labels * 7 - 3)  # which numbers stand for the classes says nothing
    assert scores("logme", renamed) == pytest.approx(scores("logme"))


def test_labels_that_features_give_exactly_have_a_finite_score() -> None:
    labels = np.array([0, 1] * 10)
    exact = replace(TARGET, labels=labels, features={"near": np.eye(2)[labels], "far": np.ones((20, 1))})
    near, far = scores("logme", exact, KNOWN[:2])
    assert np.isfinite(near)
    assert near > far


@pytest.mark.parametrize(
    ("name", "target", "source", "message"),
    [
        ("per_token", {"prompt": None}, {}, "predictor per_token: task 'target' comes without prompt"),
        ("average_tokens", {}, {"prompt": None}, "task 'near' comes without prompt"),
        ("average_tokens", {}, {"prompt": np.ones((2, 7))}, "prompt of task 'near' has shape 2 x 7, expected any x 6"),
        ("per_token", {"prompt": np.ones(6)}, {}, "prompt of task 'target' has shape 6, expected any x any"),
        ("per_token", {"prompt": np.ones((0, 6))}, {}, "prompt of task 'target' has shape 0 x 6"),
        ("per_token", {}, {"prompt": np.full((2, 6), np.nan)}, "prompt of task 'near' holds NaN or infinity"),
        ("text", {}, {"texts": np.ones((2, 4))}, "texts of task 'near' has shape 2 x 4, expected any x 5"),
        ("fisher", {"fisher": np.ones(4)}, {}, "fisher of task 'near' has shape 3 x 6, expected 4"),
        ("fisher", {"fisher": -np.ones((3, 6))}, {}, "fisher of task 'target' holds a number below 0"),
        ("loss", {"losses": {}}, {}, "task 'target' comes without losses under 'near'"),
        ("loss", {"losses": {"near": float("inf")}}, {}, "losses of task 'target' under 'near' holds NaN or infinity"),
        ("size", {}, {"size": None}, "task 'near' comes without size"),
        ("logme", {"labels": np.ones(20, int)}, {}, "the labels of task 'target' are all the same"),
        ("logme", {"labels": None}, {}, "task 'target' comes without labels"),
        ("logme", {"features": {}}, {}, "comes without features under 'near'"),
        ("logme", {"features": {"near": np.ones((9, 4))}}, {}, "under 'near' has shape 9 x 4, expected 20 x any"),
        ("logme", {"features": {"near": np.float64(1)}}, {}, "has shape of a single number, expected 20 x any"),
    ],
)
def test_what_a_predictor_cannot_use_is_one_line(name: str, target: dict, source: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        scores(name, replace(TARGET, **target), [replace(KNOWN[0], **source)])
    assert message in str(caught.value)


def test_an_unknown_predictor_gets_a_hint() -> None:
    with pytest.raises(UserError, match="unknown predictor 'per_tokens'; did you mean 'per_token'"):
        PREDICTORS.get("per_tokens")
