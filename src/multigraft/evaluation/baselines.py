"""Scores to beat without a language model: the most common answer, and a linear model on bags of words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline

from multigraft.errors import UserError
from multigraft.tasks.task import Example, Task

_WORD = re.compile(r"\w+|[^\w\s]")


def majority(train: Sequence[Example], evaluation: Sequence[Example], task: Task) -> np.ndarray:
    """The most common option (of those that a row has), or the mean number, for every row of `evaluation`, (n,).

    Raises UserError for a task without training rows, or with text as its output.
    """
    targets = _targets(train, task)
    if task.output.kind == "number":
        return np.full(len(evaluation), targets.mean())
    counts = np.bincount(targets, minlength=max(len(row.choices) for row in evaluation))
    return np.array([counts[: len(row.choices)].argmax() for row in evaluation])


def bag_of_words(train: Sequence[Example], evaluation: Sequence[Example], task: Task) -> np.ndarray:
    """Predictions of a linear model on TF-IDF weights of words and word pairs, each field apart, (n,).

    Numbers: ridge regression. Fixed options: logistic regression. Options per row: logistic regression tells the
    right pair of row and option from the others, and the most likely option wins.

    Raises UserError as `majority` does.
    """
    targets = _targets(train, task)
    documents, new = [row.inputs for row in train], [row.inputs for row in evaluation]
    if task.output.kind == "number":
        return _fit(Ridge(), documents, targets).predict(new)
    classifier = LogisticRegression(max_iter=1000)
    if task.output.kind == "choice" and task.output.choices is None:
        right = np.concatenate([np.arange(len(row.choices)) == row.target for row in train])
        model = _fit(classifier, [pair for row in train for pair in _pairs(row)], right)
        evidence = model.decision_function([pair for row in evaluation for pair in _pairs(row)])
        ends = np.cumsum([len(row.choices) for row in evaluation])
        return np.array([options.argmax() for options in np.split(evidence, ends[:-1])])
    if len(np.unique(targets)) == 1:  # nothing to tell apart
        return majority(train, evaluation, task)
    return _fit(classifier, documents, targets).predict(new)


def _fit(regression: LogisticRegression | Ridge, documents: list[tuple[str, ...]], targets: np.ndarray) -> Pipeline:
    return make_pipeline(TfidfVectorizer(analyzer=_terms), regression).fit(documents, targets)


def _targets(train: Sequence[Example], task: Task) -> np.ndarray:
    if task.output.kind == "text":
        raise UserError(f"task {task.name!r} has text as its output", fix="baselines need a choice or a number")
    if not train:
        raise UserError(f"task {task.name!r} has no training rows")
    return np.array([row.target for row in train])


def _pairs(row: Example) -> list[tuple[str, ...]]:
    """The inputs of a row with each of its options, C documents."""
    return [(*row.inputs, option) for option in row.choices]


def _terms(document: tuple[str, ...]) -> Iterator[str]:
    """Words and word pairs of a document with the number of their field, and one term that every document has."""
    yield ""  # so that texts without any word do not leave an empty vocabulary
    for number, field in enumerate(document):
        words = _WORD.findall(field.lower())
        yield from (f"{number} {word}" for word in words)
        yield from (f"{number} {first} {second}" for first, second in pairwise(words))
