from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multigraft.errors import UserError
from multigraft.evaluation.metrics import average
from multigraft.settings import build
from multigraft.strategies import multitask
from multigraft.strategies.compare import compare, run_folder
from multigraft.strategies.recipe import CompareRecipe
from multigraft.strategies.results import Results
from multigraft.strategies.runs import finished

ROWS: list[dict[str, Any]] = [
    {"separate": True, "method": "heads_only"},
    {"method": "heads_only"},
    {"method": {"name": "low_rank", "width": 4}},
]


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Callable[..., dict[str, Any]]) -> Callable[..., CompareRecipe]:
    def make(**changes: Any) -> CompareRecipe:
        values = tiny_recipe(tasks=["feeling", "amount"], training__steps=4, training__epochs=2, score_on="test")
        return build(CompareRecipe, {**values, "title": "t", "seeds": [0, 1], "rows": ROWS, **changes}, "recipe")

    return make


@pytest.fixture(scope="module")
def folder(recipe: Callable[..., CompareRecipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison."""
    place = tmp_path_factory.mktemp("compare")
    compare(recipe(), place, quiet=True)
    return place


@pytest.fixture
def results(folder: Path) -> Results:
    return Results.model_validate_json((folder / "results.json").read_text())


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of the runs that are trained from here on."""
    folders: list[Path] = []
    train = multitask.train

    def spy(*arguments: Any) -> Any:
        folders.append(arguments[7])
        return train(*arguments)

    monkeypatch.setattr(multitask, "train", spy)
    return folders


def test_the_record_tells_every_row_and_task(results: Results) -> None:
    assert [row.label for row in results.rows] == [
        "separate models, proportional",
        "one shared encoder, proportional",
        "low_rank (width 4), proportional",
    ]
    assert [row.strategy for row in results.rows] == ["separate", "shared", "module"]
    assert [(task.name, task.train_rows, task.evaluation_rows, task.split) for task in results.tasks] == [
        ("feeling", 120, 20, "test"),
        ("amount", 80, 20, "test"),
    ]
    assert all(task.majority <= task.bag_of_words for task in results.tasks)
    separate, shared, module = results.rows
    assert 1.9 < separate.relative < 2.1
    assert 1 < shared.relative < module.relative < 1.5
    assert separate.ledger.keys() == shared.ledger.keys() == {"feeling", "amount"}
    assert sum(draws.drawn for draws in shared.ledger.values()) == 4 * 8
    assert sum(draws.drawn for draws in separate.ledger.values()) == 4 * 8
    assert [curve.seed for curve in module.curves] == [0, 1]


def test_scores_are_those_of_the_runs(results: Results, recipe: Callable[..., CompareRecipe], folder: Path) -> None:
    for row, (_, alone) in zip(results.rows, recipe().resolved(), strict=True):
        runs = [finished(run_folder(folder, alone, seed)) for seed in (0, 1)]
        for task, estimate in row.scores.items():
            assert estimate.values == tuple(run.scores[task] for run in runs if run)
        assert row.average.values == pytest.approx([average(run.scores) for run in runs if run])
        for estimate in (row.average, *row.scores.values()):
            low, high = estimate.interval or (0, 0)
            assert min(estimate.values) - 40 < low <= estimate.mean <= high < max(estimate.values) + 40
            assert estimate.mean == pytest.approx(sum(estimate.values) / 2)
            assert estimate.stderr == pytest.approx(abs(estimate.values[0] - estimate.values[1]) / 2)


def test_differences_are_of_averages_and_of_all_pairs(results: Results) -> None:
    means = {row.id: row.average.mean for row in results.rows}
    assert len(means) == 3
    assert len({frozenset((pair.a, pair.b)) for pair in results.differences}) == 3
    for pair in results.differences:
        assert pair.difference == pytest.approx(means[pair.a] - means[pair.b])
        low, high = pair.interval
        assert low <= pair.difference <= high
        assert 0 < pair.p <= 1
        assert (low > 0 or high < 0) is (pair.p < 0.05) or abs(pair.p - 0.05) < 0.02


def test_the_second_time_nothing_is_even_read(
    recipe: Callable[..., CompareRecipe],
    folder: Path,
    results: Results,
    ran: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("multigraft.strategies.multitask.load_data", None)
    told: list[str] = []
    assert compare(recipe(), folder, announce=told.append, quiet=True) == results
    assert ran == told == []


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text('{"settings": 1}')], ids=["gone", "bad"])
def test_results_come_again_from_the_runs(
    recipe: Callable[..., CompareRecipe], folder: Path, results: Results, ran: list[Path], damage: Any
) -> None:
    damage(folder / "results.json")
    again = compare(recipe(), folder, quiet=True)
    assert ran == []
    assert again.model_copy(update={"created": results.created}) == results
    assert json.loads((folder / "results.json").read_text())["title"] == "t"


def test_only_what_is_new_runs(recipe: Callable[..., CompareRecipe], folder: Path, ran: list[Path]) -> None:
    told: list[str] = []
    results = compare(recipe(seeds=[1, 2], rows=ROWS[1:]), folder, announce=told.append, quiet=True)
    assert [place.name for place in ran] == ["seed-2", "seed-2"]
    assert told == [
        "run 1 of 2: one shared encoder, proportional, seed 2",
        "run 2 of 2: low_rank (width 4), proportional, seed 2",
    ]
    assert results.rows[0].seeds == (1, 2)
    one = compare(recipe(seeds=[2], rows=ROWS[1:2]), folder, quiet=True)
    assert len(ran) == 2
    assert (one.rows[0].average.stderr, one.differences) == (None, ())


def test_a_row_that_cannot_run_stops_before_the_first_does(
    recipe: Callable[..., CompareRecipe], tmp_path: Path, ran: list[Path]
) -> None:
    bad = recipe(rows=[{"method": "heads_only"}, {"method": {"name": "pal", "layers": [9]}}])
    with pytest.raises(UserError, match="layer 9 does not exist"):
        compare(bad, tmp_path / "c", quiet=True)
    assert ran == []
    assert not (tmp_path / "c").exists()


def test_two_processes_do_not_share_a_run(
    recipe: Callable[..., CompareRecipe], tmp_path: Path, ran: list[Path]
) -> None:
    wanted = recipe(rows=ROWS[1:2], seeds=[0])
    place = run_folder(tmp_path, wanted.resolved()[0][1], 0)
    place.mkdir(parents=True)
    with (place / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is at work here"):
            compare(wanted, tmp_path, quiet=True)
    assert ran == []
