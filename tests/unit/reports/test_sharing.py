from __future__ import annotations

from collections.abc import Callable

from multigraft.reports import html
from multigraft.reports.pareto import front
from multigraft.reports.sharing import changes, finding, sources
from multigraft.reports.summary import findings
from multigraft.reports.verdicts import best, names
from multigraft.strategies.results import Results, TaskDifference

Example = Callable[..., Results]


def shared(example: Example, *cases: tuple[str, str, float, float]) -> Results:
    by_task = tuple(
        TaskDifference(task=task, a=a, b="separate", difference=points, interval=(points - 1, points + 1), p=p, holm=p)
        for task, a, points, p in cases
    )
    return example().model_copy(update={"by_task": by_task})


def test_only_significant_changes_are_marked_and_told(example: Example) -> None:
    results = shared(
        example, ("rte", "pal-annealed", 6.0, 0.01), ("rte", "lhuc-annealed", 7.0, 0.2),
        ("cola", "pal-annealed", -4.0, 0.03), ("qqp", "lhuc-annealed", 2.0, 0.5),
    )  # fmt: skip
    table = changes(results)
    assert table.head == ("task", "PAL (annealed), against separate models", "LHUC, against separate models")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["rte"] == ("+6.0 ▲", "+7.0")
    assert rows["cola"] == ("−4.0 ▼", "–")
    assert rows["qqp"] == ("–", "+2.0")
    found = finding(results)
    assert found is not None
    assert found.answer == "1 of 8 tasks gain in some way of sharing, 1 lose"
    assert "Gain: rte +6.0 (PAL (annealed)). Lose: cola −4.0 (PAL (annealed))." in found.text


def test_without_a_significant_change_none_is_told(example: Example) -> None:
    found = finding(shared(example, ("rte", "pal-annealed", 9.0, 0.06)))
    assert found is not None
    assert found.answer == "no single task differs significantly"
    assert "rte" not in found.text
    assert finding(example()) is None
    assert changes(example()).rows == []


def test_what_was_chosen_is_listed_by_task(example: Example) -> None:
    results = example()
    row = results.rows[2].model_copy(update={"learned_from": {"rte": ("mnli", "qnli")}})
    results = results.model_copy(update={"rows": (*results.rows[:2], row, *results.rows[3:])})
    table = sources(results)
    assert table.head == ("task", "PAL (annealed)")
    assert dict(table.rows)["rte"] == "mnli, qnli"
    assert dict(table.rows)["sst2"] == "–"
    page = html.render(results)
    assert "Who learns from whom" in page
    assert "mnli, qnli" in page
    assert "Who learns from whom" not in html.render(example())


def test_what_to_take_is_the_smallest_that_is_not_worse(example: Example) -> None:
    found = next(one for one in findings(example()) if one.title == "What to take")
    assert found.answer == "PAL (annealed)" or "1.13×" in found.text
    assert "not significantly" in found.text


def test_an_oracle_is_no_way_to_take(example: Example) -> None:
    results = example()
    top = best(results)
    assert top is not None
    bound = top.model_copy(update={"bound": True})
    results = results.model_copy(update={"rows": tuple(bound if row.id == top.id else row for row in results.rows)})
    assert best(results) != bound
    told = next(one for one in findings(results) if one.title == "Best average").answer
    assert not told.startswith(names(results)[top.id])


def test_the_front_holds_what_nothing_beats() -> None:
    costs = {"a": 1.0, "b": 1.0, "c": 2.0, "d": 3.0, "e": 4.0}
    assert front(costs, {"a": 50.0, "b": 51.0, "c": 51.0, "d": 60.0, "e": 59.0}) == ["b", "d"]
    assert front({}, {}) == []
