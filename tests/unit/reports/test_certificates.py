from __future__ import annotations

from collections.abc import Callable

import pytest

from multigraft.reports.certificates import CLEAN, certificate, clean_rows, dropped, overlaps
from multigraft.strategies.results import Results

Example = Callable[..., Results]


def test_a_certificate_is_one_line(instructed: Example) -> None:
    held = instructed().held_out[0]
    line = "nli held out: 3 tasks tested, 9 trained on less 1,321 rows, 2 left out; seal 5f3c5f3c"
    assert certificate(held) == line
    few = held.model_copy(update={"clusters": ("nli", "qa"), "tasks": ("rte",), "dropped": {"sst2": 0}})
    assert certificate(few) == "nli and qa held out: 1 task tested, 9 trained on, 2 left out; seal 5f3c5f3c"


def test_tasks_that_lost_most_rows_come_first(instructed: Example) -> None:
    assert dropped(instructed().held_out[0]) == [("boolq", "1,204"), ("dream", "117")]


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"interval": (0.1, 2.0)}, "clean rows higher"),
        ({"interval": (-2.0, -0.1)}, "clean rows lower"),
        ({"interval": (-2.0, 0.0)}, "not significant"),
        ({"interval": None}, "–"),
        ({"overlapping": 0}, "no row overlaps"),
        ({"clean": None, "difference": None, "interval": None}, "every row overlaps"),
    ],
)
def test_a_verdict_says_what_the_interval_shows(instructed: Example, changes: dict, verdict: str) -> None:
    row = instructed().rows[2]
    only = row.model_copy(update={"clean": {"rte": row.clean["rte"].model_copy(update=changes)}})
    (cells,) = clean_rows(only)
    assert len(cells) == len(CLEAN)
    assert cells[-1] == verdict


def test_overlapping_rows_are_added_up(instructed: Example) -> None:
    assert overlaps(instructed(tasks=3).rows[2]) == "94 of 833 rows overlap"
