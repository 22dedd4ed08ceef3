"""Baselines: the majority by hand, and bags of words that find what words tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from multigraft.errors import UserError
from multigraft.evaluation.baselines import bag_of_words, majority
from multigraft.evaluation.metrics import score
from multigraft.tasks.task import Choice, Example, Number, Task, Text

OPTIONS = ("no", "yes")
COLOURS, ANIMALS = ("red", "green", "blue", "pink"), ("cat", "dog", "owl", "fox")


def task(output: Choice | Number | Text, inputs: tuple[str, ...] = ("a", "b")) -> Task:
    metrics = {"choice": "accuracy", "number": "pearson", "text": "rougeL"}
    splits = {"train": "train.jsonl", "validation": "validation.jsonl"}
    settings = {"name": "toy", "cluster": "toy", "inputs": inputs, "output": output, "splits": splits}
    return Task.model_validate({**settings, "metric": metrics[output.kind]})


FIXED = task(Choice(field="label", choices=OPTIONS))
PER_ROW = task(Choice(field="label", choices_field="options"))
NUMBERS = task(Number(field="score", range=(0, 5)))


def row(a: str, b: str, target: float, choices: tuple[str, ...] = ()) -> Example:
    return Example((a, b), choices, target)


def words(count: int, seed: int) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    return [tuple(rng.choice(COLOURS + ANIMALS, 2).tolist()) for _ in range(count)]


def test_majority_by_hand() -> None:
    train = [row("x", "y", target, OPTIONS) for target in (1, 0, 1)]
    assert majority(train, train, FIXED).tolist() == [1, 1, 1]
    numbers = [row("x", "y", target) for target in (1.0, 2.0, 4.5)]
    predictions = majority(numbers, numbers, NUMBERS)
    assert predictions.tolist() == [2.5] * 3
    assert score("pearson", predictions, np.array([1.0, 2.0, 4.5])) == 0


def test_majority_keeps_to_the_options_of_the_row() -> None:
    train = [row("x", "y", 3, ("a", "b", "c", "d"))] * 3 + [row("x", "y", 1, ("a", "b"))]
    evaluation = [
        row("x", "y", 0, options) for options in (("a", "b", "c", "d"), ("a", "b"), ("a", "b", "c", "d", "e"))
    ]
    assert majority(train, evaluation, PER_ROW).tolist() == [3, 1, 3]


def test_bag_of_words_knows_the_fields_apart() -> None:
    """The label says whether the first field is a colour; what the second one is must not matter."""
    rows = [row(a, b, int(a in COLOURS), OPTIONS) for a, b in words(300, 0)]
    assert (bag_of_words(rows[:200], rows[200:], FIXED) == [example.target for example in rows[200:]]).all()


def test_bag_of_words_reads_pairs_of_words() -> None:
    """Single words tell nothing: the label is in their order."""
    rows = [row("same", f"{a} {b}", int(a < b), OPTIONS) for a, b in words(400, 0) if a != b]
    predictions = bag_of_words(rows[:300], rows[300:], FIXED)
    assert (predictions == [example.target for example in rows[300:]]).mean() > 0.95


def test_bag_of_words_picks_among_the_options_of_a_row() -> None:
    """Of three options, the animal is right."""
    rng, rows = np.random.default_rng(0), []
    for a, _ in words(150, 1):
        options = rng.permutation([rng.choice(ANIMALS), *rng.choice(COLOURS, rng.integers(1, 4), replace=False)])
        rows.append(row(a, "which lives?", int(np.flatnonzero(np.isin(options, ANIMALS))[0]), tuple(options.tolist())))
    predictions = bag_of_words(rows[:100], rows[100:], PER_ROW)
    assert (predictions == [example.target for example in rows[100:]]).all()


def test_bag_of_words_predicts_numbers() -> None:
    rows = [row(a, b, float((a in COLOURS) + (b in COLOURS))) for a, b in words(200, 0)]
    targets = np.array([example.target for example in rows[150:]])
    assert score("pearson", bag_of_words(rows[:150], rows[150:], NUMBERS), targets) > 95


def test_rows_without_any_word() -> None:
    rows = [row(" ", "", target, OPTIONS) for target in (0, 1, 1)]
    assert bag_of_words(rows, rows, FIXED).tolist() == [1, 1, 1]


def test_one_label_only() -> None:
    rows = [row("x", "y", 0, OPTIONS)] * 3
    assert bag_of_words(rows, rows, FIXED).tolist() == [0, 0, 0]


@pytest.mark.parametrize("baseline", [majority, bag_of_words])
def test_what_has_no_baseline_is_one_clear_line(baseline: object) -> None:
    assert callable(baseline)
    with pytest.raises(UserError, match="task 'toy' has text as its output"):
        baseline([row("x", "y", 0)], [row("x", "y", 0)], task(Text(field="target")))
    with pytest.raises(UserError, match="task 'toy' has no training rows"):
        baseline([], [row("x", "y", 0, OPTIONS)], FIXED)


def test_real_sentiment_is_learnt_and_its_majority_is_not(data_folder: Path) -> None:
    sst2 = task(Choice(field="label", choices=("negative", "positive")), ("sentence",)).at(
        data_folder / "tasks" / "sst2"
    )
    train, validation = sst2.examples("train", 3000), sst2.examples("validation")
    targets = np.array([example.target for example in validation])
    assert 45 < score("accuracy", majority(train, validation, sst2), targets) < 56
    assert score("accuracy", bag_of_words(train, validation, sst2), targets) > 70
