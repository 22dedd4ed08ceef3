from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from multigraft.errors import UserError

Make = Callable[..., Any]


def lines(run: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]


def test_the_log_has_steps_and_scores(make_run: Make) -> None:
    run = make_run(steps=9, epochs=3, warmup=0, dev=[50.0, 70.0, 60.0])
    progress = run.go()
    assert progress.step == 9
    assert [line["step"] for line in lines(run) if "train_loss" in line] == [3, 6, 9]
    dev = [line for line in lines(run) if "dev" in line]
    assert [(line["step"], line["dev_average"], line["best"]) for line in dev] == [
        (3, 50.0, True),
        (6, 70.0, True),
        (9, 60.0, False),
    ]
    assert dev[0]["dev"] == {"feeling": 50.0, "amount": 50.0, "pick": 50.0}
    assert run.monitor.curve()["dev_average"] == [50.0, 70.0, 60.0]
    assert lines(run)[0]["learning_rate"] == pytest.approx(7 / 9)


@pytest.mark.parametrize(("choose", "kept"), [("best", [3, 6]), ("last", [12])])
def test_the_best_is_kept_or_the_last(make_run: Make, choose: str, kept: list[int]) -> None:
    run = make_run(steps=12, epochs=4, choose=choose, dev=[50.0, 70.0, 60.0, 70.0])
    progress = run.go()
    assert run.kept == kept
    assert (progress.best_step, progress.best_average) == (6, 70.0)


def test_scores_come_when_they_are_due_and_at_the_end(make_run: Make) -> None:
    run = make_run(steps=10, epochs=5, score_every=2)
    run.go()
    assert run.scored == [4, 8, 10]


def test_the_loss_falls(make_run: Make) -> None:
    run = make_run(steps=60, epochs=1, batches="mixed", batch_size=8, learning_rate=3e-3)
    run.go()
    losses = run.monitor.curve()["train_loss"]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])


@pytest.mark.parametrize("tuned", [True, False], ids=["tuned", "frozen"])
def test_the_same_seed_gives_the_same_model(make_run: Make, assert_same: Make, tuned: bool) -> None:
    model = {"tuned": tuned, "dropout": 0.1}
    runs = [make_run(place, model=model, seed=seed) for place, seed in (("a", 1), ("b", 1), ("c", 2))]
    for run in runs:
        torch.rand(3)  # whatever the generator was at before
        run.go()
    a, b, c = (run.tensors() for run in runs)
    assert_same(a, b)
    assert all(not torch.equal(a[name], c[name]) for name in a)


def test_dropout_is_on_in_training_and_off_in_scoring(make_run: Make) -> None:
    runs = [make_run(str(rate), model={"dropout": rate}, steps=1, epochs=1) for rate in (0.0, 0.3)]
    modes = []
    for run in runs:
        evaluate = run._evaluate
        run._evaluate = lambda run=run, evaluate=evaluate: (modes.append(run.model.training), evaluate())[1]
        run.go()
    assert not torch.equal(runs[0].tensors()["heads"], runs[1].tensors()["heads"])
    assert modes == [False, False]


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_what_is_not_drawn_does_not_move(make_run: Make, optimizer: str) -> None:
    run = make_run(steps=1, epochs=1, optimizer=optimizer)
    before = run.tensors()
    run.go()
    drawn = [run.ledger.summary()[name]["drawn"] > 0 for name in run.model.names]
    assert sum(drawn) == 1
    for key in ("bank", "heads"):
        for row, moved in enumerate(drawn):
            assert torch.equal(before[key][row], run.tensors()[key][row]) is not moved


def test_the_ledger_tells_of_every_row(make_run: Make) -> None:
    run = make_run(steps=9, batches="mixed", batch_size=5)
    run.go()
    summary = run.ledger.summary()
    assert sum(entry["drawn"] for entry in summary.values()) == 45
    assert 0 < run.ledger.padding() < 0.5
    # Rows of `pick` have 2 to 4 sequences of 8 tokens each.
    assert 16 <= summary["pick"]["tokens"] / summary["pick"]["drawn"] <= 32


@pytest.mark.parametrize("stop", [1, 4, 5, 7])  # of 8 steps with a checkpoint after every second
def test_a_run_that_was_stopped_ends_as_if_it_had_not(make_run: Make, assert_same: Make, stop: int) -> None:
    settings = {"steps": 8, "epochs": 4, "batches": "mixed", "model": {"dropout": 0.2}, "dev": [3.0, 1.0, 4.0, 1.0]}
    whole = make_run("whole", **settings)
    whole.go()
    with pytest.raises(KeyboardInterrupt):
        make_run("part", stop_after=stop, **settings).go()
    rest = make_run("part", **{**settings, "dev": settings["dev"][(stop - 1) // 2 :]})
    progress = rest.go()
    assert_same(rest.tensors(), whole.tensors())
    assert lines(rest) == lines(whole)
    assert rest.ledger.state() == whole.ledger.state()
    assert (progress.step, progress.best_step) == (8, 6)


def test_a_finished_run_is_not_trained_again(make_run: Make, assert_same: Make) -> None:
    first, again = make_run(), make_run()
    first.go()
    assert again.go().step == 9
    assert_same(again.tensors(), first.tensors())
    assert again.scored == []


def test_a_torn_line_of_the_log_is_dropped(make_run: Make) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_run(stop_after=5).go()
    log = make_run().folder / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 6, "dev": {"feeling": 1.0}')
    rest, whole = make_run(), make_run("whole")
    rest.go()
    whole.go()
    assert lines(rest) == lines(whole)


def test_checkpoints_wait_for_their_time(make_run: Make) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_run(stop_after=8, checkpoint_seconds=1000).go()
    run = make_run(checkpoint_seconds=1000)
    assert not (run.folder / "checkpoint").exists()
    run.go()
    assert not (run.folder / "checkpoint").exists()  # the run is shorter than what may be lost
    run = make_run("longer", checkpoint_seconds=1e-6)
    run.go()
    assert (run.folder / "checkpoint").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop("sampler"),
        lambda state: state["sampler"].pop("drawn"),
        lambda state: state["ledger"].pop("drawn"),
        lambda state: state["progress"].update(unheard=1),
    ],
)
def test_progress_that_is_not_ours_is_one_line(make_run: Make, damage: Callable[[Any], object]) -> None:
    run = make_run()
    run.go()
    path = run.folder / "checkpoint" / "progress.json"
    state = json.loads(path.read_text())
    damage(state)
    path.write_text(json.dumps(state))
    with pytest.raises(UserError, match=r"progress\.json: not the progress of this run"):
        make_run().go()


def test_a_loss_that_blows_up_is_one_line(make_run: Make) -> None:
    run = make_run(learning_rate=1e30, module_learning_rate=1e30, clip=None, warmup=0, steps=20, epochs=1)
    with pytest.raises(UserError, match=r"run: step \d+: the loss is (nan|inf); lower the learning rates"):
        run.go()


@pytest.mark.parametrize(
    ("method", "pooler", "optimizer"),
    [("low_rank", "per_task", "adamw"), ("lora", "none", "adafactor"), ("heads_only", "per_task", "adamw")],
)
def test_together_is_apart(make_run: Make, pooler: str, method: str, optimizer: str) -> None:
    """Independent experts, trained in one bank or each by itself on the same rows, come out the same."""
    still = method if method == "heads_only" else {"name": method, "dropout": 0.0} if method == "lora" else method
    settings = {"steps": 12, "epochs": 2, "optimizer": optimizer, "clip": 0.1}
    model = {"method": still, "tuned": False, "pooler": pooler}
    together = make_run("together", model=model, batches="parallel", **settings)
    start = together.model.heads.expert("pick")["weight"]
    together.go()
    for name in together.model.names:
        alone = make_run(name, model={**model, "names": [name]}, **settings)
        alone.go()
        mine, theirs = ({**m.bank.stack.expert(name), **_head(m, name)} for m in (alone.model, together.model))
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=2e-5)
    assert (together.model.heads.expert("pick")["weight"] - start).abs().max() > 1e-2


def _head(model: Any, name: str) -> dict[str, torch.Tensor]:
    """A task's head; without the bias where it is the same for all options of a row.

    There it cancels, and its gradient is rounding noise, which the optimizers scale up.
    """
    tensors = {f"head.{key}": tensor for key, tensor in model.heads.expert(name).items()}
    if name == "pick":
        del tensors["head.bias"]
    return tensors
