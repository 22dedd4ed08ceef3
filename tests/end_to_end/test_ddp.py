"""Two processes that share every step give what one process gives."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

PATIENCE = 120  # seconds after which a process is taken to hang


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


@pytest.fixture
def launch(start: Callable[..., BaseProcess], tmp_path: Path) -> Callable[..., tuple[list[int | None], list[str]]]:
    """`multigraft ARGUMENTS` in so many processes, as `accelerate launch --cpu` does it: exit codes and output."""

    def run(processes: int, *arguments: object) -> tuple[list[int | None], list[str]]:
        port, said = free_port(), [tmp_path / f"said-{processes}-{rank}.txt" for rank in range(processes)]
        together = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}  # fmt: skip
        started = []
        for rank in range(processes):
            env = {**together, "RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
            started.append(start(*arguments, said=said[rank], env=env))
        for process in started:
            process.join(PATIENCE)
            process.kill()
        return [process.exitcode for process in started], [path.read_text() for path in said]

    return run


def experts(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """What was trained, by task; `` for what all share.

    Left out is what cancels in a softmax, the biases of keys and of heads on a row's own options: their gradients
    are rounding noise, which the optimizers scale up.
    """
    found = {path.parent.name: load_file(path) for path in (folder / "model/experts").glob("*/weights.safetensors")}
    found.get("pick", {}).pop("head.bias", None)
    shared = folder / "model/shared.safetensors"
    found[""] = {key: v for key, v in load_file(shared).items() if "key.bias" not in key} if shared.exists() else {}
    return found


@pytest.mark.parametrize(
    ("changes", "tuned"),
    [
        ({"method": "heads_only", "training__batches": "mixed", "training__batch_size": 7}, True),
        ({"method": {"name": "low_rank", "width": 4}, "training__steps": 2, "training__clip": 0.1}, True),
        (
            {"method": {"name": "low_rank", "width": 4}, "training__batches": "parallel", "training__batch_size": 3},
            False,
        ),
        (
            {
                "method": {"name": "low_rank", "width": 4},
                "training__batches": "parallel",
                "training__batch_size": 3,
                "training__part_positions": 30,
            },
            False,
        ),
    ],
    ids=["shared", "module", "frozen", "parts"],
)
def test_two_processes_are_one(
    launch: Callable[..., tuple[list[int | None], list[str]]],
    write_recipe: Callable[..., Path],
    tmp_path: Path,
    changes: dict[str, Any],
    tuned: bool,
) -> None:
    recipe = write_recipe(**{"training__steps": 10, "training__epochs": 2, **changes})
    options = ["--set", f"backbone.tuned={str(tuned).lower()}", "--json", "--set", "training.choose=last"]
    for processes in (1, 2):
        codes, said = launch(processes, "train", recipe, "--output", tmp_path / str(processes), *options)
        assert codes == [0] * processes, said
        assert said[0].strip().startswith("{")
        assert said[1:] in ([], [""])
    one, two = (experts(tmp_path / name) for name in ("1", "2"))
    assert one.keys() == two.keys()
    for task in one:
        torch.testing.assert_close(two[task], one[task], rtol=1e-4, atol=1e-5)
    results = [json.loads((tmp_path / name / "result/result.json").read_text()) for name in ("1", "2")]
    for first, second in zip(*(result["ledger"].values() for result in results), strict=True):
        for figure in ("planned", "drawn", "passes", "tokens", "truncated"):
            assert first[figure] == second[figure]
    assert results[1]["scores"] == pytest.approx(results[0]["scores"], abs=0.1)
    assert results[1]["curve"]["train_loss"] == pytest.approx(results[0]["curve"]["train_loss"], rel=1e-4)
    idle = [name for name, entry in results[1]["ledger"].items() if not entry["drawn"]]
    if changes.get("training__steps") == 2:
        assert idle
    for name in idle:  # did not move, bit for bit
        assert all(torch.equal(one[name][key], two[name][key]) for key in one[name])
        assert not load_file(tmp_path / "2/model/experts" / name / "weights.safetensors")["head.bias"].any()


def test_more_processes_than_rows_is_one_line_each(
    launch: Callable[..., tuple[list[int | None], list[str]]], write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    codes, said = launch(2, "train", write_recipe(training__batch_size=1), "--output", tmp_path / "r", "--json")
    assert codes == [2, 2]
    assert all("training.batch_size: 2 processes cannot share 1 rows; give at least 2" in text for text in said)
    assert all("Traceback" not in text for text in said)


def test_a_comparison_in_two_processes(
    launch: Callable[..., tuple[list[int | None], list[str]]], write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    values = {"tasks": ["feeling", "amount"], "training__steps": 2, "training__epochs": 1}
    recipe = write_recipe(**values, rows=[{"separate": True, "method": "heads_only"}, {"method": "heads_only"}])
    for _ in range(2):  # the second time everything is there
        for old in tmp_path.glob("said-*"):
            old.unlink()
        codes, said = launch(2, "compare", recipe, "--output", tmp_path / "c", "--json")
        assert codes == [0, 0], said
        assert said[0].count('"machine"') == 1
        assert '"machine"' not in said[1]
    assert json.loads((tmp_path / "c" / "results.json").read_text())["rows"][1]["strategy"] == "shared"
