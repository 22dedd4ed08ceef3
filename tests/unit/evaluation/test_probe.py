"""Linear probes: what they learn, and that no row helps to predict itself."""

from __future__ import annotations

import numpy as np
import pytest

from multigraft.evaluation.probe import Probe, out_of_fold

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(40, 5))
LABELS = (FEATURES[:, 0] > 0).astype(np.int64)


def test_a_probe_learns_what_features_tell() -> None:
    probe = Probe(3).fit(FEATURES, LABELS)
    found = probe.predict(FEATURES)
    assert found.shape == (40, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found[:, 2] == 0).all()  # a label that no example has
    assert (found.argmax(axis=1) == LABELS).mean() > 0.9
    numbers = Probe(None).fit(FEATURES, FEATURES @ np.arange(5.0)).predict(FEATURES)
    assert np.corrcoef(numbers, FEATURES @ np.arange(5.0))[0, 1] > 0.99


@pytest.mark.parametrize("choices", [2, None])
def test_one_label_alone_is_what_is_said(choices: int | None) -> None:
    found = Probe(choices).fit(FEATURES, np.ones(40, np.int64)).predict(FEATURES[:3])
    assert found.tolist() == ([[0, 1]] * 3 if choices else [1, 1, 1])


def test_no_row_is_predicted_by_itself_or_its_group() -> None:
    noise = RNG.normal(size=(40, 200))  # a probe of all rows would know every one of them
    labels = RNG.integers(0, 2, 40)
    assert (Probe(2).fit(noise, labels).predict(noise).argmax(axis=1) == labels).all()
    assert (out_of_fold(noise, labels, np.arange(40), 2).argmax(axis=1) == labels).mean() < 0.8
    twins, groups = np.repeat(noise[:20], 2, axis=0), np.repeat(np.arange(20), 2)
    told = out_of_fold(twins, np.repeat(labels[:20], 2), groups, 2)
    assert (told.argmax(axis=1) == np.repeat(labels[:20], 2)).mean() < 0.9
    assert out_of_fold(FEATURES, LABELS, np.arange(40), 2).shape == (40, 2)
