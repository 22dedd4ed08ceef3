from __future__ import annotations

from collections.abc import Callable

import pytest

from multigraft.reports.figures import number
from multigraft.reports.wordings import HEAD, finding, wording_rows
from multigraft.strategies.results import Results

Example = Callable[..., Results]


def test_templates_are_listed_from_the_best_to_the_worst(instructed: Example) -> None:
    row = instructed().rows[2]
    found = wording_rows(row)
    assert [cells[0] for cells in found] == list(row.scores)
    assert all(len(cells) == len(HEAD) for cells in found)
    by_template = row.wordings["rte"].by_template
    best, worst = max(by_template, key=lambda name: by_template[name]), min(by_template, key=lambda n: by_template[n])
    assert found[0][-1].startswith(f"{best} {number(by_template[best])}; ")
    assert found[0][-1].endswith(f"; {worst} {number(by_template[worst])}")


def test_the_range_is_that_of_best_and_worst_template(instructed: Example) -> None:
    results = instructed()
    ranges = {
        (row.label, task): max(found.by_template.values()) - min(found.by_template.values())
        for row in results.rows
        for task, found in row.wordings.items()
        if len(found.by_template) > 1
    }
    found = finding(results)
    assert found
    assert len(ranges) == 7 * 9  # two ways have but one template
    assert f" {number(sum(ranges.values()) / len(ranges))} points apart" in found.answer
    label, task = max(ranges, key=lambda key: ranges[key])
    assert f"Widest: {number(ranges[label, task])} points with {label} on {task}" in found.text
    assert "name only" not in found.text


@pytest.mark.parametrize("kept", [0, 1])
def test_one_template_has_no_range(instructed: Example, kept: int) -> None:
    results = instructed()
    rows = []
    for row in results.rows:
        few = {
            task: one.model_copy(update={"by_template": dict(list(one.by_template.items())[:kept])})
            for task, one in row.wordings.items()
        }
        rows.append(row.model_copy(update={"wordings": few}))
    assert finding(results.model_copy(update={"rows": tuple(rows)})) is None
