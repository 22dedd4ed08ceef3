from __future__ import annotations

import json
from pathlib import Path

import pytest

from multigraft.training.monitor import Monitor


def test_a_curve_is_what_the_log_says(tmp_path: Path) -> None:
    with Monitor(tmp_path, "run", quiet=True, every=2) as monitor:
        monitor.begin(0, 4)
        for step, loss in enumerate((4.0, 2.0, 1.0, 0.0), 1):
            monitor.on_step(step, loss, 0.5)
        monitor.on_scores(4, {"a": 60.0, "b": 80.0}, 70.0, True)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == [
        {"step": 2, "train_loss": 3.0, "learning_rate": 0.5},
        {"step": 4, "train_loss": 0.5, "learning_rate": 0.5},
        {"step": 4, "dev": {"a": 60.0, "b": 80.0}, "dev_average": 70.0, "best": True},
    ]
    assert monitor.curve() == {"step": [2, 4], "train_loss": [3.0, 0.5], "dev_step": [4], "dev_average": [70.0]}


def test_resuming_drops_what_will_be_repeated(tmp_path: Path) -> None:
    with Monitor(tmp_path, "run", quiet=True, every=1) as monitor:
        monitor.begin(0, 3)
        for step in (1, 2, 3):
            monitor.on_step(step, float(step), 1.0)
    with Monitor(tmp_path, "run", quiet=True, every=2) as monitor:
        monitor.begin(2, 4, [8.0])
        monitor.on_step(3, 1.0, 1.0)
        monitor.on_step(4, 3.0, 1.0)
        assert monitor.curve()["step"] == [1, 2, 4]
        assert monitor.curve()["train_loss"] == [1.0, 2.0, 4.0]


def test_a_new_run_in_the_folder_starts_a_new_log(tmp_path: Path) -> None:
    for loss in (1.0, 2.0):
        with Monitor(tmp_path, "run", quiet=True, every=1) as monitor:
            monitor.begin(0, 1)
            monitor.on_step(1, loss, 1.0)
    assert monitor.curve()["train_loss"] == [2.0]


def test_tensorboard_gets_the_same_figures(tmp_path: Path) -> None:
    event = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with Monitor(tmp_path, "run", quiet=True, every=1) as monitor:
        monitor.begin(0, 1)
        monitor.on_step(1, 0.25, 1.0)
        monitor.on_scores(1, {"a": 60.0}, 60.0, True)
    board = event.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {tag: board.Scalars(tag)[0].value for tag in board.Tags()["scalars"]} == {
        "train_loss": 0.25,
        "learning_rate": 1.0,
        "dev_average": 60.0,
        "dev/a": 60.0,
    }
