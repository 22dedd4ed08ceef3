"""The stream of one task: exact passes, batches of like lengths, the same rows whoever asks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from multigraft.mixing.stream import Stream, generator

small = st.integers(1, 60)


def lengths_of(size: int) -> list[int]:
    return generator("lengths", size).integers(3, 128, size).tolist()


def check_passes(rows: np.ndarray, size: int) -> None:
    """Every run of `size` rows has each row once; the last, incomplete one has none twice."""
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        assert len(set(part.tolist())) == len(part)
        assert part.min() >= 0
        assert part.max() < size


@given(size=small, batch_size=st.integers(1, 40), batches=st.integers(1, 30), seed=st.integers(0, 2**40))
def test_passes_are_exact(size: int, batch_size: int, batches: int, seed: int) -> None:
    stream = Stream("task", lengths_of(size), batch_size, seed)
    check_passes(np.concatenate([stream.batch(number) for number in range(batches)]), size)
    check_passes(stream.rows(0, batches * batch_size), size)


@given(size=small, batch_size=st.integers(1, 20), data=st.data())
def test_any_part_of_the_stream_can_be_read_alone(size: int, batch_size: int, data: st.DataObject) -> None:
    first, count = data.draw(st.integers(0, 200)), data.draw(st.integers(0, 100))
    whole = Stream("task", lengths_of(size), batch_size, 0)
    part = Stream("task", lengths_of(size), batch_size, 0)
    np.testing.assert_array_equal(part.rows(first, count), whole.rows(0, first + count)[first:])
    batches = [whole.batch(number) for number in range(12)]
    for number in data.draw(st.permutations(range(12))):
        np.testing.assert_array_equal(part.batch(number), batches[number])


def test_seed_and_name_change_the_order() -> None:
    orders = {
        tuple(Stream(name, [1] * 50, 50, seed).rows(0, 50).tolist()) for name in ("a", "b") for seed in (0, 1, 2**32)
    }
    assert len(orders) == 6


def test_every_pass_has_an_order_of_its_own() -> None:
    rows = Stream("task", [1] * 50, 10, 0).rows(0, 100)
    assert rows[:50].tolist() != rows[50:].tolist()


def test_batches_hold_like_lengths_also_across_passes() -> None:
    lengths = np.array(lengths_of(1003))
    stream = Stream("task", lengths.tolist(), 16, 0)
    batches = [lengths[stream.batch(number)] for number in range(200)]
    padding = 1 - sum(map(np.sum, batches)) / sum(16 * batch.max() for batch in batches)
    assert padding < 0.02
    assert all(np.ptp(batch) <= 6 for batch in batches)
    # Batches do not come in the order of their lengths.
    assert abs(np.corrcoef(np.arange(62), [batch.mean() for batch in batches[:62]])[0, 1]) < 0.5


def test_the_order_is_the_same_in_every_process() -> None:
    # Printed once; other numbers mean that a run begun before a change of code cannot be continued after it.
    assert Stream("rte", [5, 9, 7, 3, 4], 2, 7).rows(0, 10).tolist() == [2, 1, 3, 0, 4, 3, 0, 2, 4, 1]
