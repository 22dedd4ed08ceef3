"""Dividing rows: no row, or its like, in two splits, the same labels in all, whatever the order of the rows."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from multigraft.tasks.division import MOST_ALIKE, divide, likeness

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
ROWS = st.lists(st.tuples(st.integers(0, 40).map(str), st.sampled_from("abc")), min_size=1, max_size=120)


def test_like_texts_have_one_key() -> None:
    assert likeness(["A fine day.", "rain"]) == likeness(["Rain!", "a  FINE day"])
    assert likeness(["a fine day"]) != likeness(["a fine", "day"])
    assert likeness(["?!"]) != likeness(["..."])


@given(ROWS)
def test_like_rows_stay_together_and_every_label_is_in_the_first_split(rows: list[tuple[str, str]]) -> None:
    keys, labels = zip(*rows, strict=True)
    splits = divide(keys, labels, SHARES)
    assert len(splits) == len(rows)
    assert set(splits) <= set(SHARES)
    where: dict[str, set[str]] = {}
    for key, split in zip(keys, splits, strict=True):
        where.setdefault(key, set()).add(split)
    assert all(len(found) == 1 for found in where.values())
    assert {label for label, split in zip(labels, splits, strict=True) if split == "train"} == set(labels)


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(rows: list[tuple[str, str]], draw: random.Random) -> None:
    def placed(rows: list[tuple[str, str]]) -> Counter[tuple[str, str, str]]:
        keys, labels = zip(*rows, strict=True)
        return Counter(zip(keys, labels, divide(keys, labels, SHARES), strict=True))

    assert placed(rows) == placed(draw.sample(rows, len(rows)))


@given(st.integers(10, 300), st.integers(1, 4))
def test_the_shares_hold_for_every_label(rows: int, options: int) -> None:
    keys, labels = [str(row) for row in range(rows)], [str(row % options) for row in range(rows)]
    splits = divide(keys, labels, SHARES)
    assert all(abs(splits.count(split) - share * rows) <= options + 1 for split, share in SHARES.items())
    for label in set(labels):
        own = [split for split, name in zip(splits, labels, strict=True) if name == label]
        assert all(abs(own.count(split) - share * len(own)) <= 3 for split, share in SHARES.items())


@given(st.lists(st.integers(0, 10**6).map(str), min_size=2, max_size=60, unique=True))
def test_a_rare_label_is_in_the_first_split(keys: list[str]) -> None:
    labels = [str(row // 2) if row % 3 else "often" for row in range(len(keys))]
    splits = divide(keys, labels, SHARES)
    assert {label for label, split in zip(labels, splits, strict=True) if split == "train"} == set(labels)


def test_what_is_repeated_very_often_is_for_training() -> None:
    for text in map(str, range(20)):  # each of them would be drawn for another split now and then
        keys = [*[text] * 30, *(f"other {row}" for row in range(70))]
        splits = divide(keys, [""] * 100, SHARES)
        assert MOST_ALIKE < 0.3
        assert splits[0] == "train"
        assert {"validation", "test"} <= set(splits)
