"""Every recipe that comes with the project is bound to what runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from multigraft.backbones.load import load_backbone
from multigraft.backbones.tiny import tiny_backbone, tiny_text_backbone
from multigraft.methods.base import parse_method
from multigraft.settings import build
from multigraft.strategies.answering import TEXT
from multigraft.strategies.comparison import Comparison, read_recipe
from multigraft.strategies.instruction_data import training_templates
from multigraft.strategies.instruction_recipe import InstructionRecipe
from multigraft.strategies.prompt_recipe import MIXTURE, PromptRecipe
from multigraft.strategies.recipe import Recipe
from multigraft.strategies.retrieval_recipe import RetrievalRecipe
from multigraft.strategies.strategy import strategy_of
from multigraft.tasks.suite import load_suite
from multigraft.tasks.template import choose_templates

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def test_there_are_recipes() -> None:
    assert {"experts", "flan", "glue8"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_can_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its values are known ones, its suite has its tasks, and its methods fit a backbone."""
    monkeypatch.chdir(ROOT)
    values = read_recipe(path)
    strategy = strategy_of(values, path)
    recipe = build(strategy.comparison if "rows" in values else strategy.recipe, values, path)
    rows = recipe.resolved(path) if isinstance(recipe, Comparison) else [(recipe.label(), recipe)]
    labels = [label for label, _ in rows]
    assert len(set(labels)) == len(labels)
    for _, row in rows:
        kinds = {Recipe: _heads, InstructionRecipe: _words, PromptRecipe: _prompts, RetrievalRecipe: _experts}
        kinds[type(row)](row)


def _heads(row: Recipe) -> None:
    backbone, suite = tiny_backbone(), load_suite(row.suite)
    tasks = suite.subset(row.tasks or suite.tasks).tasks
    assert all(task.output.kind != "text" for task in tasks.values())
    if isinstance(row.examples, dict):
        suite.subset(row.examples)
    method = parse_method(row.method)
    assert bool(method.specs(backbone)) is (method.name != "heads_only")
    method.places(backbone)
    shares = row.parsed_schedule().shares([100] * len(tasks), 1, row.training.epochs, 1000)
    assert sum(shares) == pytest.approx(1)


def _prompts(row: PromptRecipe) -> None:
    tasks = load_suite(row.suite).tasks
    for name in (*(row.targets or ()), *(row.sources or ())):
        assert name in tasks
    named = row.transfer.source if row.transfer else None
    assert named in (None, MIXTURE, TEXT) or named in tasks
    parse_method(row.method).check(load_backbone(row.backbone_name, pretrained=False), row.training.max_length)


def _experts(row: RetrievalRecipe) -> None:
    tasks = load_suite(row.suite).tasks
    assert set(row.targets or ()) | set(row.sources or ()) <= set(tasks)
    parse_method(row.method).check(load_backbone(row.backbone_name, pretrained=False), row.training.max_length)


def _words(row: InstructionRecipe) -> None:
    suite = load_suite(row.suite)
    assert set(row.hold_out) | set(row.train_clusters or ()) <= set(suite.clusters)
    for task in suite.tasks.values():
        asked = choose_templates(task, row.score_templates)
        assert not all(template.inverted for template in asked)
        assert training_templates(row, task)
    if row.method is not None:
        parse_method(row.method).check(tiny_text_backbone("encoder-decoder"))
