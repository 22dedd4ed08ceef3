"""Plans: all ways draw the same rows, the estimate fits the budget, and what cannot be compared is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from multigraft.cli.common import run
from multigraft.cli.main import build_app
from multigraft.errors import UserError
from multigraft.settings import build
from multigraft.strategies import experts, instruction_training, plan, whole
from multigraft.strategies.compare import compare
from multigraft.strategies.costs import Cost, measure
from multigraft.strategies.plan import Plan, make_plan
from multigraft.strategies.several import CompareSeveral
from multigraft.tasks.suite import load_suite

DEAR = Cost(tuned=0.02, expert=0.01, prompt=0.01, words=0.04, answer=0.004, answer_words=0.02, load=0.1)
Make = Callable[..., Plan]


@pytest.fixture
def make(word_suite: str, backbone_folder: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(plan, "measure", lambda *_: DEAR)

    def made(budget: float = 600, suite: str = word_suite, words: str | None = "t5", **tasks: Any) -> Plan:
        names = backbone_folder("bert"), backbone_folder(words) if words else None
        return make_plan(load_suite(suite), suite, budget, backbone=names[0], words=names[1], **tasks)

    return made


def test_every_way_draws_the_same_rows(make: Make) -> None:
    found = make()
    recipe = build(CompareSeveral, found.recipe, "plan")
    rows = [row for _, row in recipe.resolved()]
    assert {row.strategy for row in rows} == {
        "multitask", "prompt_transfer", "expert_retrieval", "instruction_tuning",
    }  # fmt: skip
    for row in rows:
        steps, batch = row.training.steps, row.training.batch_size
        drawn = steps * batch if row.strategy in ("multitask", "instruction_tuning") else steps * batch * 3
        assert drawn == found.rows * 3
    assert found.seconds <= 600


def test_the_estimate_fits_the_budget(make: Make) -> None:
    short, long = make(60), make(100_000)
    assert short.seconds <= plan.SHARE * 60 + 1e-9
    assert short.rows < long.rows
    assert long.rows <= plan.PASSES * 40  # passes over the largest task, whatever the time
    assert short.recipe["scored_examples"] <= long.recipe["scored_examples"]
    with pytest.raises(UserError, match=r"--budget: 3 tasks take \d+ minutes at least"):
        make(2)


def test_without_a_text_backbone_nothing_is_said_in_words(make: Make) -> None:
    assert "instruction_tuning" not in {row["strategy"] for row in make(words=None).recipe["rows"]}


def test_what_cannot_be_compared_is_left_out_and_said(make: Make, tiny_suite: str) -> None:
    found = make(suite=tiny_suite)
    assert "heads do not write" in found.left_out["reply"]
    assert "reply" not in found.recipe["tasks"]
    assert found.recipe["score_on"] == "test"


def test_what_is_unseen_is_scored_and_never_trained_on(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = make(unseen=["third"])
    assert found.recipe["tasks"] == ["first", "second"]
    assert found.unseen is not None
    assert found.unseen["tasks"] == ["first", "second", "third"]
    few = {"steps": 2, "epochs": 1, "precision": "fp32"}
    recipes = []
    for recipe in (found.recipe, found.unseen):
        rows = [{**row, "training": row["training"] | few} for row in recipe["rows"]]
        small = {"rows": rows, "scored_examples": 8, "training": recipe["training"] | few}
        recipes.append(build(CompareSeveral, {**recipe, **small}, "plan"))
    seen = compare(recipes[0], tmp_path, quiet=True)
    assert {task.name for task in seen.tasks} == {"first", "second"}
    # Experts, the expert for all and the instruction-tuned model are those of the first comparison.
    for module in (experts, instruction_training, whole):
        monkeypatch.setattr(module, "train", None)
    unseen = compare(recipes[1], tmp_path / "unseen", root=tmp_path, quiet=True)
    assert [task.name for task in unseen.tasks] == ["third"]
    labels = [row.label for row in unseen.rows]
    assert labels[0].startswith("backbone alone")
    assert sum(label.startswith("untuned") for label in labels) == 1
    assert len(labels) == 9
    chosen = next(row for row in unseen.rows if row.label.startswith("retrieved expert (RoE)")).learned_from["third"]
    assert set(chosen) <= {"first", "second"}


def test_clusters_may_be_named(make: Make, word_suite: str) -> None:
    suite = load_suite(word_suite)
    task = suite.tasks["third"]
    found = make(unseen=[task.clusters[0]], wanted=["first"])
    assert found.unseen is not None
    members = {name for name, one in suite.tasks.items() if task.clusters[0] in one.clusters}
    assert set(found.unseen["tasks"]) == {"first", *members}
    with pytest.raises(UserError, match="--unseen: unknown task or cluster 'thrid'; did you mean 'third'"):
        make(unseen=["thrid"])
    with pytest.raises(UserError, match="no task to train on"):
        make(unseen=["first", "second", "third"])


def test_costs_are_measured(word_suite: str, backbone_folder: Callable[..., str]) -> None:
    tasks = list(load_suite(word_suite).tasks.values())
    found = measure(tasks, backbone_folder("bert"), backbone_folder("t5"), 20, {"name": "lora", "rank": 2},
                    {"name": "soft_prompt", "length": 3})  # fmt: skip
    assert all(0 < seconds < 1 for seconds in found)
    alone = measure(
        tasks[:1], backbone_folder("bert"), None, 20, {"name": "lora"}, {"name": "soft_prompt", "length": 3}
    )
    assert alone.words == alone.answer_words == 0


def ran(*arguments: object) -> int:
    return run(build_app(), ["compare", *map(str, arguments)])


def test_a_folder_of_tables_is_compared_and_the_plan_is_kept(
    make: Make, backbone_folder: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "200")
    tables = tmp_path / "tables"
    tables.mkdir()
    for name in ("one", "two"):
        rows = [f"{word} {letter},{word}" for word in ("cat", "dog") for letter in "efghijkl"]
        (tables / f"{name}.csv").write_text("\n".join(["words,kind", *rows]) + "\n")
    options = (tables, "--output", tmp_path / "out", "--backbone", backbone_folder("bert"), "--words", "none")
    assert ran(*options, "--budget", "90s", "--plan") == 0
    assert "one: reads words; answers kind (choice)" in capsys.readouterr().err
    kept = yaml.safe_load((tmp_path / "out/plan.yaml").read_text())
    assert kept["recipe"]["tasks"] == ["one", "two"]
    fewer = ("--set", "training.steps=2", *(f"--set=rows.{i}.training.steps=2" for i in range(9)),
             "--set", "training.precision=fp32", *(f"--set=rows.{i}.training.epochs=1" for i in range(9)),
             *(f"--set=rows.{i}.method.length=3" for i in (1, 5)))  # fmt: skip
    monkeypatch.setattr(plan, "measure", None)  # the plan is not made again
    assert ran(*options, "--budget", "90s", *fewer) == 0
    out = capsys.readouterr().out
    for label in ("separate models", "one shared encoder", "transferred prompts", "own experts"):
        assert label in out
    assert (tmp_path / "out/report.html").exists()
    assert ran(*options, "--budget", "2h") == 2
    assert "is the plan of another comparison" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("starter", "--budget", "soon"), "'soon' is no time"),
        (("nowhere",), "nowhere"),
        (("recipes/flan.yaml", "--budget", "3m"), "--budget is for a suite"),
        (("starter", "--task", "reviws"), "did you mean 'reviews'"),
        (("starter", "--backbone", "pocket"), "pocket is no encoder"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(*arguments, "--output", tmp_path / "out") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert message in line
    assert not (tmp_path / "out/plan.yaml").exists()
