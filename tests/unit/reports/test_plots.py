from __future__ import annotations

from collections.abc import Callable

from multigraft.reports import plots
from multigraft.reports.figures import estimate
from multigraft.strategies.results import Results

Example = Callable[..., Results]


def test_a_cluster_shows_every_way_beside_chance_and_majority(instructed: Example) -> None:
    results = instructed()
    nli, _, texts = plots.by_cluster(results, 343)
    for plot in (nli, texts):
        assert plot.count('class="mark"') == plot.count('class="whisker"') == 9
    for row in results.rows:
        assert f"{row.label} {estimate(row.by_cluster['nli'])}" in nli
    assert "chance 37.8" in nli
    assert "majority 36.8" in nli
    assert "bag of words" not in nli
    assert "chance" not in texts


def test_baselines_without_an_average_leave_no_line(instructed: Example) -> None:
    assert plots.averages(instructed(), 900).count('class="tick"') + 3 == plots.averages(
        instructed(tasks=6), 900
    ).count('class="tick"')
