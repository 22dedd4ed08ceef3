"""Linear probes: what can be told from an expert's features by a few labelled examples."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDS = 5


class Probe:
    """A linear model of standardised features: logistic regression for choices, ridge regression for numbers.

    Each with a penalty of 1, as few labels leave nothing to choose it by.
    """

    def __init__(self, choices: int | None) -> None:
        """choices: C options; None for a number."""
        self.choices = choices
        self._model: Any = None
        self._only: float | None = None  # the label of all examples, where they have one

    def fit(self, features: np.ndarray, labels: np.ndarray) -> Probe:
        """Learn from n examples: features n x D, labels (n,)."""
        self._only = float(labels[0]) if len(np.unique(labels)) == 1 else None
        if self._only is None:
            linear = Ridge() if self.choices is None else LogisticRegression(max_iter=1000)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of as many classes as examples, of which few labels have some
                self._model = make_pipeline(StandardScaler(), linear).fit(features, labels)
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Of n examples: probabilities n x C, or numbers (n,)."""
        if self.choices is None:
            return np.full(len(features), self._only) if self._model is None else self._model.predict(features)
        found = np.zeros((len(features), self.choices))
        if self._model is None:
            found[:, int(self._only or 0)] = 1
        else:
            found[:, self._model[-1].classes_.astype(int)] = self._model.predict_proba(features)
        return found


def out_of_fold(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, choices: int | None) -> np.ndarray:
    """What a probe of the other folds predicts of each of n examples, as `Probe.predict`; groups (n,) stay together."""
    rows = np.unique(groups)
    found: list[np.ndarray] = []
    places: list[np.ndarray] = []
    for _, left_out in KFold(min(FOLDS, len(rows)), shuffle=True, random_state=0).split(rows):
        held = np.isin(groups, rows[left_out])
        found.append(Probe(choices).fit(features[~held], labels[~held]).predict(features[held]))
        places.append(np.flatnonzero(held))
    return np.concatenate(found)[np.argsort(np.concatenate(places))]
