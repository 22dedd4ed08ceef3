from __future__ import annotations

from collections.abc import Callable

import pytest
from rich.console import Console

from multigraft.errors import UserError
from multigraft.reports import figures, tables
from multigraft.reports.board import board, ordered
from multigraft.strategies.results import Difference, Results

Example = Callable[..., Results]


def printed(results: Results, width: int) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    tables.show(results, console)
    return console.export_text()


@pytest.mark.parametrize("width", [80, 100, 160, 240])
def test_every_figure_is_printed_whole_at_any_width(example: Example, width: int) -> None:
    results = example()
    text = printed(results, width)
    assert max(map(len, text.splitlines())) <= width
    for row in results.rows:
        assert f"{row.average.mean:.1f} ± {row.average.stderr:.1f} [" in text
        for task in results.tasks:
            assert f"{row.scores[task.name].mean:.1f}" in text


def test_folds_into_summary_and_tasks_only_where_needed(example: Example) -> None:
    assert len(tables.scoreboards(example(), 240)) == 1
    assert len(tables.scoreboards(example(), 100)) == 2
    assert len(tables.scoreboards(example(), 60)) > 2


def test_baselines_come_first_and_the_rest_in_reading_order(example: Example) -> None:
    results = example()
    shuffled = results.model_copy(update={"rows": results.rows[2:8] + results.rows[:2] + results.rows[8:]})
    ids = [row.id for row in ordered(shuffled)]
    assert ids[:2] == ["separate", "shared-annealed"]
    assert ids[-2:] == ["shared-proportional", "pal-square_root"]
    assert [line.name for line in board(results).baselines] == ["majority", "bag of words"]


def test_with_many_tasks_what_sums_them_up_comes_first(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multigraft.reports.board.MANY", 7)
    assert board(example(tasks=8)).columns[0].key == "average"
    assert board(example(tasks=7)).columns[0].key == "task:mnli"


def test_bold_is_the_best_and_never_a_baseline(example: Example) -> None:
    results = example()
    tasks = tuple(task.model_copy(update={"bag_of_words": 100.0}) for task in results.tasks)
    found = board(results.model_copy(update={"tasks": tasks}))
    for column in found.columns:
        values = [line.cells[column.key].value for line in found.lines]
        best = (max if column.more else min)(values)
        bold = [line.cells[column.key] for line in found.lines if line.cells[column.key].best]
        assert best in [cell.value for cell in bold]
        assert len({cell.text for cell in bold}) == 1
        assert not any(line.cells[column.key].best for line in found.baselines if column.key in line.cells)


def test_marks_follow_the_recorded_differences(example: Example) -> None:
    results = example(rows=4)
    top = max(results.rows, key=lambda row: row.average.mean)
    others = [row for row in results.rows if row.id != top.id]

    def pair(row_id: str, low: float, high: float) -> Difference:
        return Difference(
            a=top.id,
            b=row_id,
            difference=(low + high) / 2,
            interval=(low, high),
            p=0.5,
            holm=0.01 if low > 0 or high < 0 else 1.0,
        )

    recorded = (pair(others[0].id, 0.1, 2.0), pair(others[1].id, -0.1, 2.0))
    found = board(results.model_copy(update={"differences": recorded}))
    marks = {line.name: line.cells["average"].mark for line in found.lines}
    assert [marks[row.label] for row in (top, *others)] == ["≈", "", "≈", "?"]
    assert "not significantly different" in found.caption
    assert "not compared" in found.caption


def test_equal_labels_are_told_apart(example: Example) -> None:
    results = example()
    names = [line.name for line in board(results).lines]
    assert len(set(names)) == len(names)
    assert "PAL (annealed)" in names
    same = tuple(row.model_copy(update={"label": "x", "schedule": "y"}) for row in results.rows)
    names = [line.name for line in board(results.model_copy(update={"rows": same})).lines]
    assert len(set(names)) == len(names)


def test_ledger_shows_what_was_drawn(example: Example) -> None:
    results = example()
    rows = tables.ledger_rows(results, "pal-annealed")
    assert [row[0] for row in rows] == [task.name for task in results.tasks]
    assert all(len(row) == len(tables.LEDGER) for row in rows)
    drawn = results.rows[2].ledger["rte"].drawn
    assert f"{drawn:,}" in rows[-1]
    assert tables.ledger(results, "pal-annealed").row_count == 8


def test_ledger_of_an_unknown_row_names_the_nearest(example: Example) -> None:
    with pytest.raises(UserError, match="pal-annealed"):
        tables.ledger(example(), "pal-aneled")


def test_markdown_is_one_table_with_special_characters_escaped(example: Example) -> None:
    results = example(tasks=1, rows=2)
    odd = results.rows[0].model_copy(update={"label": "a|b*c\n<i>"})
    lines = tables.plain(results.model_copy(update={"rows": (odd, results.rows[1])})).splitlines()
    assert r"a\|b\*c \<i\>" in lines[4]
    assert all(line.replace(r"\|", "").count("|") == 8 for line in lines[:6])


def test_markup_in_names_is_printed_as_it_is(example: Example) -> None:
    results = example(tasks=1, rows=1)
    odd = results.rows[0].model_copy(update={"label": "[red]x[/] [/nope]"})
    assert "[red]x[/] [/nope]" in printed(results.model_copy(update={"rows": (odd,)}), 100)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_clusters_and_certificates_follow_the_scoreboard(instructed: Example, width: int) -> None:
    results = instructed()
    text = printed(results, width)
    assert max(map(len, text.splitlines())) <= width
    for row in results.rows:
        for value in row.by_cluster.values():
            assert figures.estimate(value) in text
    certificates = text[text.index("nli held out") :].split()
    assert " ".join(certificates).count("seal 5f3c5f3c") == 3


def test_untuned_ways_come_first_and_instructions_last(example: Example, instructed: Example) -> None:
    results = instructed()
    rows = (*results.rows[2:4], *example().rows, *results.rows[4:], *results.rows[:2])
    ids = [row.id for row in ordered(results.model_copy(update={"rows": rows}))]
    assert ids[:4] == ["untuned", "untuned-4", "separate", "shared-annealed"]
    assert ids[-8:] == ["pal-square_root", "all", "one", "two", "four", "eight", "name", "no_template"]


def test_a_baseline_averages_only_what_is_known_for_every_task(instructed: Example) -> None:
    names = ["chance", "majority", "bag of words"]
    texts, choices = board(instructed()), board(instructed(tasks=6))
    assert [line.name for line in texts.baselines] == [line.name for line in choices.baselines] == names
    assert not any("average" in line.cells and line.cells["average"].value for line in texts.baselines)
    chance = choices.baselines[0].cells
    assert chance["average"].value == pytest.approx((50 + 30.1 + 33.3 + 50 + 50 + 33.3) / 6)
    assert "task:sciq" not in texts.baselines[0].cells
    task = instructed().tasks[6]
    assert board(instructed().model_copy(update={"tasks": (task,)})).baselines == ()


def test_what_was_not_measured_has_no_column_and_what_cost_nothing_no_figure(instructed: Example) -> None:
    found = board(instructed())
    assert [column.key for column in found.columns if not column.task] == ["average", "relative", "train"]
    assert found.lines[0].cells["train"].text == figures.NONE
    assert not any(line.cells["relative"].best for line in found.lines)  # all the same


def test_rows_with_one_seed_among_others_are_explained(example: Example, instructed: Example) -> None:
    assert "± standard error over 2 seeds; without it: one seed." in board(instructed()).caption
    assert "without it" not in board(example()).caption


def test_clusters_as_markdown(example: Example, instructed: Example) -> None:
    assert tables.plain_clusters(example()) == ""
    lines = tables.plain_clusters(instructed()).splitlines()
    assert lines[0] == r"| way | nli (3 tasks) | commonsense (3 tasks) | closed\_book\_qa (3 tasks) |"
    assert lines[2] == "| chance | 37.8 | 44.4 | – |"
    assert len([line for line in lines if line.startswith("|")]) == 2 + 2 + 9
