from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from multigraft.tasks import starter
from multigraft.tasks.suite import Suite

NAMES = [source.name for source in starter.sources()]


@pytest.fixture(scope="module")
def suite() -> Suite:
    return starter.load()


@pytest.mark.parametrize("name", NAMES)
def test_ten_wordings(name: str, suite: Suite, check_templates: Callable) -> None:
    task = suite.tasks[name]
    assert len(check_templates(task, task.examples("validation", limit=20))) == 10


def test_no_wording_without_its_task() -> None:
    assert sorted(path.stem for path in starter.TEMPLATES.iterdir()) == sorted(NAMES)


def test_another_wording_is_another_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "templates"
    shutil.copytree(starter.TEMPLATES, folder)
    monkeypatch.setattr(starter, "TEMPLATES", folder)
    before = starter._version()
    (folder / "coin.yaml").write_text("templates: []\n", encoding="utf-8")
    assert starter._version() != before
