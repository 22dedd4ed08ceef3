"""Ways of different strategies in one table: the same tasks, the same rows, and one line for what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multigraft.errors import UserError
from multigraft.reports import html
from multigraft.settings import build
from multigraft.strategies.compare import compare
from multigraft.strategies.several import CompareSeveral, Several

TRAINING = {"steps": 6, "epochs": 2, "batch_size": 4, "precision": "fp32", "max_length": 20, "checkpoint_seconds": 0}
Make = Callable[..., CompareSeveral]


@pytest.fixture
def make(word_suite: str, backbone_folder: Callable[..., str]) -> Make:
    encoder, words = {"name": backbone_folder("bert")}, {"name": backbone_folder("t5")}
    rows: list[dict[str, Any]] = [
        {"strategy": "multitask", "backbone": encoder, "separate": True, "training": {"steps": 18}},
        {"strategy": "multitask", "backbone": encoder, "method": "low_rank", "training": {"steps": 18}},
        {"strategy": "prompt_transfer", "backbone": encoder, "method": {"name": "soft_prompt", "length": 3},
         "dev_examples": 6, "transfer": {"by": "text"}},
        {"strategy": "expert_retrieval", "backbone": encoder, "dev_examples": 6, "use": "own"},
        {"strategy": "instruction_tuning", "backbone": words, "seen": True, "templates": "no template",
         "score_templates": "no template", "text": {"max_input": 30, "max_target": 8}},
    ]  # fmt: skip

    def made(*more: dict[str, Any], **changes: Any) -> CompareSeveral:
        values = {"strategy": "several", "suite": word_suite, "training": TRAINING, "rows": [*rows, *more]}
        return build(CompareSeveral, values | changes, "recipe")

    return made


def test_all_four_ways_stand_in_one_table(make: Make, tmp_path: Path) -> None:
    results = compare(make(), tmp_path, quiet=True)
    assert [row.strategy for row in results.rows] == ["separate", "module", "transfer", "expert", "instructions"]
    assert len(results.differences) == 10
    for row in results.rows:
        assert set(row.scores) == {"first", "second", "third"}
        assert row.average.interval is not None
    assert results.task_map is not None
    page = html.render(results)
    for row in results.rows:
        assert row.label.split(",")[0].split(" (")[0] in page
    assert compare(make(), tmp_path, quiet=True) == results


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"use": "own"}, "rows.5: 'strategy' is missing"),
        ({"strategy": "multitaks"}, "unknown strategy 'multitaks'; did you mean 'multitask'"),
        ({"strategy": "multitask", "use": "own"}, "unknown key 'use'"),
        ({"strategy": "multitask", "suite": "starter"}, "'suite' is the same for all rows"),
    ],
)
def test_a_bad_row_is_one_line(make: Make, row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(row).resolved("recipe")


def test_rows_that_score_other_tasks_are_refused_before_anything_is_trained(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="do not score the same tasks: 'second'"):
        compare(make({"strategy": "expert_retrieval", "use": "own", "targets": ["first"], "dev_examples": 6}),
                tmp_path, quiet=True)  # fmt: skip
    assert not (tmp_path / "runs").exists()


def test_it_is_no_single_run(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run it with multigraft compare"):
        Several(tmp_path).check(make())


def test_numbers_are_compared_whoever_gives_them(
    make: Make, tiny_suite: str, backbone_folder: Callable[..., str], tmp_path: Path
) -> None:
    encoder, words = {"name": backbone_folder("bert")}, {"name": backbone_folder("t5")}
    rows = [
        {"strategy": "multitask", "backbone": encoder, "separate": True},
        {"strategy": "expert_retrieval", "backbone": encoder, "dev_examples": 6, "use": "own"},
        {"strategy": "prompt_transfer", "backbone": encoder, "dev_examples": 6,
         "method": {"name": "soft_prompt", "length": 3}},
        {"strategy": "instruction_tuning", "backbone": words, "seen": True, "templates": "no template",
         "score_templates": "no template", "text": {"max_input": 30, "max_target": 8}},
    ]  # fmt: skip
    results = compare(make(suite=tiny_suite, tasks=["feeling", "amount"], rows=rows), tmp_path, quiet=True)
    assert len(results.differences) == 6
