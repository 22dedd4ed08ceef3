"""The best of what is tried, and the weights that may be tried."""

from __future__ import annotations

import math

import pytest

from multigraft.errors import UserError
from multigraft.library.merging.search import best_of, shares


def test_the_first_of_the_best_is_chosen() -> None:
    found = best_of([0.1, 0.2, 0.3], {0.1: 1.0, 0.2: 2.0, 0.3: 2.0}.__getitem__)
    assert (found.best, found.score) == (0.2, 2.0)
    assert found.tried == [(0.1, 1.0), (0.2, 2.0), (0.3, 2.0)]
    with pytest.raises(UserError, match="nothing to choose from"):
        best_of([], len)


def test_shares_are_all_there_are() -> None:
    found = list(shares(3, 4))
    assert len(set(found)) == len(found) == math.comb(6, 2)
    assert all(sum(each) == 1 and min(each) >= 0 for each in found)
    assert (found[0], found[-1]) == ((0, 0, 1), (1, 0, 0))
    assert list(shares(1, 3)) == [(1.0,)]
