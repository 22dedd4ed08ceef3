"""What experts answer to rows of a target that they were not trained on: by heads or probes, or in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, softmax

from multigraft.batching.encode import Encoded
from multigraft.evaluation.generation import generate
from multigraft.evaluation.probe import Probe, out_of_fold
from multigraft.evaluation.ranking import OptionScores, score_options
from multigraft.evaluation.scoring import Read, in_units, read_all
from multigraft.evaluation.templated import targets_of
from multigraft.evaluation.text_metrics import text_scores
from multigraft.library.parcel import Parcel
from multigraft.methods.joint import JointModel
from multigraft.methods.text_model import TextModel
from multigraft.strategies.answering import HeadAnswering, WordAnswering
from multigraft.tasks.outputs import Choice, Output
from multigraft.tasks.task import Example, Task
from multigraft.tasks.template import number_words, render


class Answers(NamedTuple):
    """Of one expert, to rows in K templates; K is 1 where a head answers."""

    answers: np.ndarray  # K n, or K n W of texts: as `Templated` takes them
    chances: np.ndarray | None  # K n C: probabilities of the options, 0 beyond a row's own; None for other answers
    losses: np.ndarray  # K n: of the right answers
    likelihoods: np.ndarray | None = None  # K n: in words, log-probability of the input by itself, a token


def by_heads(
    answering: HeadAnswering, model: JointModel, experts: Sequence[Parcel], target: str,
    asked: Sequence[Sequence[Example]],
) -> Iterator[list[Answers]]:  # fmt: skip
    """Of each expert, its answers to sets of rows, of which the first teaches a probe where its head does not fit."""
    task, precision = answering.tasks[target], answering.recipe.training.precision
    encoded = [answering.encoded(target, rows) for rows in asked]
    read = [read_all(model, rows, precision) for rows in encoded]
    labels = _sequence_labels(task, asked[0], encoded[0])
    groups = np.repeat(np.arange(len(asked[0])), encoded[0].sequences)
    for expert in experts:
        n = model.names.index(expert.name)
        head = expert.card.head if expert.card is not None else None
        if head is not None and answers_alike(head.output, task.output):
            given = [_head_outputs(task, one, n) for one in read]
        else:
            choices = None if task.output.kind == "number" else len(_fixed(task.output) or (0, 1))
            features = [one.features[n] for one in read]
            probe = Probe(choices).fit(features[0], labels)
            own = out_of_fold(features[0], labels, groups, choices)
            given = [own, *(probe.predict(others) for others in features[1:])]
        yield [_answers(task, rows, one, values) for rows, one, values in zip(asked, encoded, given, strict=True)]


def answers_alike(one: Output, other: Output) -> bool:
    """Do two tasks have answers with the same names: the same options, options of the row, or a number?"""
    if one.kind != other.kind or one.kind == "text":
        return False
    return not isinstance(one, Choice) or one.choices == _fixed(other)


def _fixed(output: Output) -> tuple[str, ...] | None:
    """The options that are the same for all rows, if there are any."""
    return output.choices if isinstance(output, Choice) else None


def _head_outputs(task: Task, read: Read, n: int) -> np.ndarray:
    """As a probe's: probabilities of each sequence's options, of one option how right it is; or numbers."""
    values = read.values[n].astype(np.float64)
    if task.output.kind == "number":
        return values[:, 0]
    return softmax(values[:, : task.head_outputs], axis=1) if _fixed(task.output) else values[:, :1]


def _sequence_labels(task: Task, rows: Sequence[Example], encoded: Encoded) -> np.ndarray:
    """What a probe learns: the class or number of each sequence; of one option, whether it is right."""
    if task.output.kind == "number":
        return encoded.target_number.astype(np.float64)
    if encoded.by_row:
        return np.concatenate([(np.arange(len(row.choices)) == row.target).astype(np.int64) for row in rows])
    return encoded.target_class


def _answers(task: Task, rows: Sequence[Example], encoded: Encoded, given: np.ndarray) -> Answers:
    """From what heads or probes give for each sequence."""
    if task.output.kind == "number":
        losses = (given - encoded.target_number) ** 2
        return Answers(in_units(task, given)[None], None, losses[None])
    if encoded.by_row:
        # How right each option is: a head's value, or the log-odds of a probe.
        logits = given[:, 0] if given.shape[1] == 1 else np.log(given[:, 1] + 1e-12) - np.log(given[:, 0] + 1e-12)
        chances = np.zeros((len(rows), max(encoded.sequences)))
        for i, part in enumerate(np.split(logits, encoded.first[1:-1])):
            chances[i, : len(part)] = softmax(part)
    else:
        chances = given
    right = chances[np.arange(len(rows)), targets_of(rows).astype(int)]
    return Answers(chances.argmax(axis=1).astype(np.float64)[None], chances[None], -np.log(right + 1e-12)[None])


def in_words(
    answering: WordAnswering, model: TextModel, experts: Sequence[Parcel], target: str,
    asked: Sequence[Sequence[Example]],
) -> Iterator[list[Answers]]:  # fmt: skip
    """Of each expert, its answers to sets of rows; of the first with the likelihoods of its inputs."""
    for expert in experts:
        n = model.names.index(expert.name)
        found = [_worded(answering, model, n, target, rows) for rows in asked]
        yield [found[0]._replace(likelihoods=_likelihoods(answering, model, n, target, asked[0])), *found[1:]]


def _likelihoods(
    answering: WordAnswering, model: TextModel, expert: int, target: str, rows: Sequence[Example]
) -> np.ndarray:
    """Log-probability of inputs, a token, where nothing is read before them; cut as a target is."""
    found = []
    for template in answering.asked(target):
        inputs = [
            render(template, answering.tasks[target], row, options=answering.recipe.options).input for row in rows
        ]
        bare, one = [""] * len(rows), [expert] * len(rows)
        scores = score_options(
            model, bare, [(text,) for text in inputs], one, answering.form, answering.asking.precision
        )
        found.append(scores.total / np.maximum(scores.tokens, 1))
    return np.stack(found)


def _worded(answering: WordAnswering, model: TextModel, expert: int, target: str, rows: Sequence[Example]) -> Answers:
    task = answering.tasks[target]
    found: list[tuple[np.ndarray, np.ndarray | None, np.ndarray]] = []
    for template in answering.asked(target):
        questions = [render(template, task, row, options=answering.recipe.options) for row in rows]
        inputs, who, precision = [q.input for q in questions], [expert] * len(rows), answering.asking.precision
        if task.output.kind == "text":
            written = generate(
                model, inputs, who, answering.form, max_tokens=answering.asking.max_tokens, precision=precision
            )
            scores = score_options(model, inputs, [(q.target,) for q in questions], who, answering.form, precision)
            references = [row.references or (str(row.target),) for row in rows]
            statistics = text_scores(task.metric, written, references).statistics
            found.append((statistics, None, -scores.total / np.maximum(scores.tokens, 1)))
            continue
        scores = score_options(model, inputs, [q.options for q in questions], who, answering.form, precision)
        chosen = scores.choose(answering.asking.norm).astype(np.float64)
        if task.output.kind == "number":
            chosen = np.array([float(word) for word in number_words(*task.output.range)])[chosen.astype(int)]
        right = [q.options.index(q.target) for q in questions]
        chances, losses = _chances(scores, scores.normed(answering.asking.norm), right)
        found.append((chosen, None if task.output.kind == "number" else chances, losses))
    answers, chances_of, losses_of = zip(*found, strict=True)
    every = None if chances_of[0] is None else np.stack(chances_of)
    return Answers(np.stack(answers), every, np.stack(losses_of))


def _chances(scores: OptionScores, values: np.ndarray, right: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the options of n rows, n C, and minus the logarithm of that of the right ones, (n,)."""
    parts = np.split(values, scores.first[1:-1])
    chances, losses = np.zeros((len(parts), max(map(len, parts)))), np.zeros(len(parts))
    for i, part in enumerate(parts):
        chances[i, : len(part)] = softmax(part)
        losses[i] = -log_softmax(part)[right[i]]
    return chances, losses
