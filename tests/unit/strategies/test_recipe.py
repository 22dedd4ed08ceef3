from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from multigraft.errors import UserError
from multigraft.settings import build
from multigraft.strategies.comparison import merged, read_recipe
from multigraft.strategies.recipe import CompareRecipe, Recipe

BASE: dict[str, Any] = {"suite": "starter", "training": {"steps": 10}}


def recipe(**changes: Any) -> Recipe:
    return build(Recipe, merged(BASE, changes), "r.yaml")


def rows_of(*rows: dict[str, Any], **changes: Any) -> list[tuple[str, Recipe]]:
    return build(CompareRecipe, {**BASE, "rows": rows, **changes}, "r.yaml").resolved("r.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "pall"}, "unknown method 'pall'; did you mean 'pal'?"),
        ({"method": {"name": "pal", "widht": 3}}, "unknown key 'widht'; did you mean 'width'?"),
        ({"method": {"width": 3}}, "a method's name"),
        ({"method": 3}, "a method's name"),
        ({"schedule": "anealed"}, "unknown schedule 'anealed'; did you mean 'annealed'?"),
        ({"schedule": {"name": "annealed", "power": 3}}, "unknown key 'power'"),
        ({"schdule": "annealed"}, "unknown key 'schdule'; did you mean 'schedule'?"),
        ({"backbone": {"pooling": "max"}}, "backbone.pooling"),
        ({"backbone": {"freeze": True}}, "unknown key 'backbone.freeze'"),
        ({"training": {"batchsize": 3}}, "did you mean 'batch_size'?"),
        ({"training": None}, "training"),
        ({"tasks": []}, "tasks"),
        ({"examples": 0}, "examples"),
        ({"examples": {"reviews": 0}}, "examples"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_bad_value_is_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        recipe(**changes)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_changes_reach_into_groups_and_leave_their_neighbours() -> None:
    base = {**BASE, "backbone": {"name": "b", "tuned": True}}
    assert merged(base, {"backbone": {"tuned": False}})["backbone"] == {"name": "b", "tuned": False}
    assert base["backbone"] == {"name": "b", "tuned": True}


@pytest.mark.parametrize("key", ["method", "schedule"])
def test_a_method_and_a_schedule_are_taken_as_a_whole(key: str) -> None:
    assert merged({key: {"name": "a", "width": 3}}, {key: {"name": "b"}}) == {key: {"name": "b"}}


def test_a_run_has_one_length_and_the_change_has_it() -> None:
    assert recipe(training={"passes": 2}).training.steps is None
    assert merged({"training": {"passes": 2, "steps": None}}, {"training": {"steps": 5}})["training"] == {
        "passes": None,
        "steps": 5,
    }
    with pytest.raises(UserError, match="either 'steps' or 'passes'"):
        recipe(training={"passes": 2, "steps": 5})


def test_a_key_is_the_same_for_the_same_run() -> None:
    key = recipe(method="pal").key()
    assert key.startswith("pal-annealed-")
    assert recipe(method={"name": "pal"}, seed=7).key() == key
    assert recipe(method={"layers": "every", "name": "pal"}, backbone={"tuned": True}).key() == key
    assert Recipe.model_validate(recipe(method="pal").model_dump(mode="json")).key() == key


@pytest.mark.parametrize(
    "changes",
    [
        {"method": {"name": "pal", "width": 12}},
        {"schedule": "proportional"},
        {"training": {"steps": 11}},
        {"training": {"clip": None}},
        {"backbone": {"tuned": False}},
        {"backbone": {"name": "other"}},
        {"separate": True},
        {"suite": "other"},
        {"tasks": ["a"]},
        {"examples": 5},
        {"score_on": "test"},
    ],
    ids=str,
)
def test_another_run_has_another_key(changes: dict[str, Any]) -> None:
    assert recipe(method="pal").key() != recipe(**{"method": "pal", **changes}).key()


def test_names_for_people() -> None:
    assert recipe().label() == "one shared encoder, annealed"
    assert recipe(separate=True).label() == "separate models, annealed"
    assert recipe(separate=True, method="lora").label() == "separate lora, annealed"
    assert recipe(method={"name": "pal", "layers": "final_half"}, backbone={"tuned": False}).label() == (
        "pal (layers final_half), annealed, frozen"
    )


def test_ways_of_sharing() -> None:
    assert recipe().group == "shared"
    assert recipe(method="pal").group == "module"
    assert recipe(method="pal", separate=True).group == "separate"
    assert recipe().backbone.pooler_kind == "shared"
    assert recipe(backbone={"tuned": False}).backbone.pooler_kind == "per_task"
    assert recipe(backbone={"pooler": "none"}).backbone.pooler_kind == "none"


def test_caps_hold_for_all_tasks_or_by_name() -> None:
    assert recipe(examples=5).cap("a") == 5
    assert recipe(examples={"a": 3}).cap("a") == 3
    assert recipe(examples={"a": 3}).cap("b") is None
    assert recipe().cap("a") is None


def test_rows_change_what_they_name() -> None:
    (one, first), (two, second) = rows_of(
        {"method": "pal"}, {"label": "mine", "method": "lora", "training": {"steps": 3}}, title="t", seeds=[1, 2]
    )
    assert (one, two) == ("pal, annealed", "mine")
    assert (first.method["name"], first.training.steps) == ("pal", 10)
    assert (second.method["name"], second.training.steps) == ("lora", 3)
    assert type(second) is Recipe


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"method": "pal"}, {"method": {"name": "pal"}}], "r.yaml: rows.1: the same as row 'pal, annealed'"),
        ([{}, {"method": "pall"}], "did you mean 'pal'?"),
        ([{}, {"metod": "pal"}], "r.yaml: rows.1: unknown key 'metod'; did you mean 'method'?"),
        ([{"tasks": ["a"]}], "r.yaml: rows.0: 'tasks' is the same for all rows"),
        ([{"seed": 3}], "r.yaml: rows.0: 'seed' is the same for all rows"),
        ([{"score_on": "test"}], "'score_on' is the same for all rows"),
    ],
)
def test_a_bad_row_is_one_line(rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(UserError) as error:
        rows_of(*rows)
    assert said in str(error.value)


@pytest.mark.parametrize("changes", [{"rows": []}, {"seeds": []}, {"rows": ["pal"]}])
def test_a_comparison_needs_rows_and_seeds(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(changes))):
        build(CompareRecipe, {**BASE, "rows": [{}], **changes}, "r.yaml")


def test_a_file_has_named_values(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("suite: starter\ntraining: {learning_rate: 5e-5}\n")
    assert read_recipe(path) == {"suite": "starter", "training": {"learning_rate": 5e-5}}
    path.write_text("- suite\n")
    with pytest.raises(UserError, match="expected named values"):
        read_recipe(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_recipe(tmp_path / "none.yaml")
