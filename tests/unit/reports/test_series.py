from __future__ import annotations

from collections.abc import Callable

from multigraft.reports.clusters import series
from multigraft.reports.series import over_clusters
from multigraft.strategies.results import Results

Example = Callable[..., Results]


def test_points_have_whiskers_and_stand_beside_the_untuned_model_and_chance(instructed: Example) -> None:
    results = instructed(tasks=6)
    plot = over_clusters(results, series(results)["4b1d0e77aa"], 900)
    assert plot.count('class="mark"') == plot.count('class="whisker"') == 5
    assert plot.count('class="bar"') == 2  # untuned and chance
    for words in (">untuned 4", ">chance 41.1<", ">11<", "tuning clusters"):
        assert words in plot
    assert '"heading">all clusters<' in plot
    assert "4b1d0e77aa" not in plot
    texts = instructed()
    plot = over_clusters(texts, series(texts)["4b1d0e77aa"], 900)
    assert plot.count('class="bar"') == 1
    assert "chance" not in plot


def test_labels_are_left_out_where_they_would_touch(instructed: Example) -> None:
    results = instructed()
    counts = {"one": 1, "two": 2, "four": 3, "eight": 100}
    rows = [row.model_copy(update={"tuning_clusters": counts[row.id]}) for row in results.rows if row.id in counts]
    plot = over_clusters(results, rows, 343)
    assert ">1</text>" in plot
    assert ">100</text>" in plot
    assert ">2</text>" not in plot
    assert plot.count('class="mark"') == 4
