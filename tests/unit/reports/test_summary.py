from __future__ import annotations

from collections.abc import Callable

import pytest

from multigraft.reports.summary import Finding, findings
from multigraft.reports.verdicts import best, difference, verdict
from multigraft.strategies.results import Difference, Results

Example = Callable[..., Results]


def about(results: Results, title: str) -> Finding:
    return next(found for found in findings(results) if found.title == title)


def test_a_difference_reads_the_same_from_both_sides(example: Example) -> None:
    results = example()
    one, other = difference(results, "separate", "pal-annealed"), difference(results, "pal-annealed", "separate")
    assert one
    assert other
    assert one.difference == -other.difference
    assert one.interval == tuple(-end for end in reversed(other.interval))
    assert {verdict(one), verdict(other)} == {"higher", "lower"}


@pytest.mark.parametrize(
    ("difference", "holm", "expected"),
    [
        (0.5, 0.049, "higher"),
        (0.5, 0.05, "same"),
        (-0.5, 0.2, "same"),
        (-0.5, 0.01, "lower"),
        (float("nan"), 0.01, "untested"),
    ],
)
def test_what_the_correction_leaves_open_is_no_difference(difference: float, holm: float, expected: str) -> None:
    pair = Difference(a="a", b="b", difference=difference, interval=(0.1, 1.0), p=0.01, holm=holm)
    assert verdict(pair) == expected


def test_nothing_is_called_significant_when_no_pair_is(example: Example) -> None:
    results = example()
    blurred = tuple(pair.model_copy(update={"holm": 0.3}) for pair in results.differences)
    results = results.model_copy(update={"differences": blurred})
    for title in ("Best average", "Sharing against separate models"):
        found = about(results, title)
        assert "ignificantly above" not in found.answer + found.text
        assert "ignificantly below" not in found.answer + found.text
    assert about(results, "How sure").answer.startswith("0 of 45")


def test_rows_without_a_recorded_difference_are_said_to_be_uncompared(example: Example) -> None:
    results = example().model_copy(update={"differences": ()})
    text = about(results, "Best average").text
    assert text.startswith("Not compared with it:")
    assert "ignificant" not in text
    assert not any(found.title == "How sure" for found in findings(results))


def test_each_row_is_sorted_by_its_interval(example: Example) -> None:
    results = example()
    top = best(results)
    assert top is not None
    below = about(results, "Best average").text.split("Not significantly different")[0]
    for row in results.rows:
        pair = difference(results, row.id, top.id)
        if pair and row.id == "pal-frozen":
            assert verdict(pair) == "lower"
            assert row.label in below
        if pair and row.id == "adapter-annealed":
            assert verdict(pair) == "same"
            assert row.label not in below


def test_the_smallest_good_way_is_among_those_not_below_the_best(example: Example) -> None:
    text = about(example(), "Fewest parameters").text
    assert "one shared encoder" not in text  # the smallest of all, but significantly below the best
    assert "1.13×" in text


def test_overlapping_intervals_of_the_worst_task_show_no_difference(example: Example) -> None:
    assert "shows no difference" in about(example(), "Best worst task").text


def test_a_bag_of_words_that_is_not_beaten_is_named(example: Example) -> None:
    results = example()
    strong = tuple(
        task.model_copy(update={"bag_of_words": 99.0}) if task.name == "rte" else task for task in results.tasks
    )
    found = about(results.model_copy(update={"tasks": strong}), "Against a bag of words")
    assert "No way is shown to beat it on rte." in found.text
    everywhere = tuple(task.model_copy(update={"bag_of_words": 99.0}) for task in results.tasks)
    found = about(results.model_copy(update={"tasks": everywhere}), "Against a bag of words")
    assert found.answer == "no way is shown to be above it"


def test_one_seed_is_admitted(example: Example) -> None:
    assert "not for another training run" in about(example(seeds=1), "How sure").text


def test_one_way_alone_makes_no_comparisons(example: Example) -> None:
    assert [found.title for found in findings(example(rows=1))] == [
        "Average",
        "Fewest parameters",
        "Against a bag of words",
    ]


def test_a_bag_of_words_is_said_to_have_seen_the_task(example: Example, instructed: Example) -> None:
    assert "zero-shot" not in about(example(), "Against a bag of words").text
    found = about(instructed(tasks=6), "Against a bag of words")
    assert "not shown to be above it: untuned" in found.answer
    assert found.text.endswith("zero-shot ways have never seen.")
    # texts have none, so there is no average to compare with
    assert "of the 6 tasks that have it" in about(instructed(), "Against a bag of words").answer
    texts = tuple(task for task in instructed().tasks if task.kind == "text")
    found = findings(instructed().model_copy(update={"tasks": texts}))
    assert not [one for one in found if one.title.startswith("Against")]


def test_what_was_not_trained_is_neither_counted_as_one_seed_nor_fastest(instructed: Example) -> None:
    assert about(instructed(), "How sure").text.endswith("Seeds per way: 2.")
    assert "not for another training run" in about(instructed(seeds=1), "How sure").text
    found = about(instructed(), "Shortest training")
    assert found.answer == "all clusters, 25.0 min"
    assert found.text.startswith("Times")  # no time to answer, and no memory, was measured


def test_equal_sizes_are_said_to_be_equal(instructed: Example) -> None:
    assert about(instructed(), "Fewest parameters").answer == "the same in every way: 1.00× one model"
