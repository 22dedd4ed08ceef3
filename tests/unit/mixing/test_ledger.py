"""The ledger: what it is told is what it says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.mixing.ledger import Ledger
from multigraft.mixing.sampler import Sampler
from multigraft.mixing.schedule import parse


def ledger() -> Ledger:
    """Two tasks, two epochs; the second task is planned and never drawn."""
    book = Ledger({"a": 2, "b": 5}, np.array([[3.0, 1.0], [2.0, 2.0]]))
    book.record(np.array([0, 0]), np.array([4, 6]), 6, np.array([False, True]), epoch=1)
    book.record(np.array([0, 0]), np.array([8, 8]), 8, np.array([False, False]), epoch=2)
    return book


def test_summary_by_hand() -> None:
    assert ledger().summary() == {
        "a": {
            "planned": 0.625,
            "drawn": 4,
            "passes": 2.0,
            "tokens": 26,
            "padding": pytest.approx(2 / 28),
            "truncated": 0.25,
        },
        "b": {"planned": 0.375, "drawn": 0, "passes": 0.0, "tokens": 0, "padding": 0.0, "truncated": 0.0},
    }
    assert ledger().padding() == pytest.approx(2 / 28)
    assert ledger().planned_shares() == {"a": [0.75, 0.5], "b": [0.25, 0.5]}
    assert ledger().drawn_shares() == {"a": [1.0, 1.0], "b": [0.0, 0.0]}


def test_nothing_drawn_yet() -> None:
    book = Ledger({"a": 2}, np.ones((3, 1)))
    assert book.drawn_shares() == {"a": [0.0, 0.0, 0.0]}
    assert book.padding() == 0


def test_state_goes_through_json() -> None:
    book = Ledger({"a": 2, "b": 5}, np.array([[3.0, 1.0], [2.0, 2.0]]))
    book.restore(json.loads(json.dumps(ledger().state())))
    assert book.summary() == ledger().summary()
    assert json.loads(json.dumps(book.summary())) == book.summary()


@pytest.mark.parametrize("mode", ["one_task", "mixed", "parallel"])
@given(steps=st.integers(1, 30), epochs=st.integers(1, 5))
def test_rows_of_a_run_add_up(mode: str, steps: int, epochs: int) -> None:
    lengths = {"a": list(range(3, 40)), "b": [5] * 8}
    sizes = {name: len(values) for name, values in lengths.items()}
    sampler = Sampler(sizes, lengths, parse("round_robin"), 4, steps, epochs, mode, seed=0)  # type: ignore[arg-type]
    book = Ledger(sizes, sampler.planned())
    expected = dict.fromkeys(sizes, 0)
    for draw in sampler:
        tokens = np.array([lengths[sampler.names[t]][r] for t, r in zip(draw.tasks, draw.rows, strict=True)])
        book.record(draw.tasks, tokens, int(tokens.max()), tokens > 30, draw.epoch)
        for task, count in zip(draw.tasks, tokens, strict=True):
            expected[sampler.names[task]] += int(count)
    summary = book.summary()
    assert {name: entry["tokens"] for name, entry in summary.items()} == expected
    assert sum(entry["drawn"] for entry in summary.values()) == round(sampler.planned().sum())
    assert all(entry["passes"] == entry["drawn"] / sizes[name] for name, entry in summary.items())
    if mode == "parallel":
        assert {entry["planned"] for entry in summary.values()} == {0.5}
