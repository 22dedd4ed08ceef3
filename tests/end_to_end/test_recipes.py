"""Every recipe that comes with the project is bound to what runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from multigraft.backbones.tiny import tiny_backbone
from multigraft.methods.base import parse_method
from multigraft.settings import build
from multigraft.strategies.recipe import CompareRecipe, Recipe, read_recipe
from multigraft.tasks.suite import load_suite

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def test_there_are_recipes() -> None:
    assert {"demo", "glue8"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_can_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its values are known ones, its suite has its tasks, and its methods fit a backbone."""
    monkeypatch.chdir(ROOT)
    values = read_recipe(path)
    compares = "rows" in values
    recipe = build(CompareRecipe if compares else Recipe, values, path)
    rows = recipe.resolved(path) if isinstance(recipe, CompareRecipe) else [(recipe.label(), recipe)]
    labels = [label for label, _ in rows]
    assert len(set(labels)) == len(labels)
    backbone = tiny_backbone()
    suite = load_suite(recipe.suite)
    tasks = suite.subset(recipe.tasks or suite.tasks).tasks
    assert all(task.output.kind != "text" for task in tasks.values())
    if isinstance(recipe.examples, dict):
        suite.subset(recipe.examples)
    for _, row in rows:
        method = parse_method(row.method)
        assert bool(method.specs(backbone)) is (method.name != "heads_only")
        method.places(backbone)
        shares = row.parsed_schedule().shares([100] * len(tasks), 1, row.training.epochs, 1000)
        assert sum(shares) == pytest.approx(1)
