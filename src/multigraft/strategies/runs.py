"""The result of one run, as it is kept in its folder."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from pydantic import Field
from safetensors.numpy import load_file, save_file

from multigraft.errors import UserError
from multigraft.evaluation.template_statistics import Templated
from multigraft.files import new_folder, write_json
from multigraft.settings import Record


class RunResult(Record):
    """What one run with one seed found out: `result.json`."""

    scores: dict[str, float]
    parameters: int
    trained_parameters: int
    one_model: int  # parameters of one backbone with one head, to compare with
    train_seconds: float
    peak_memory_mb: float
    answer_ms: float
    steps: int
    chosen_step: int
    ledger: dict[str, dict[str, float]]
    draws: dict[str, tuple[float, ...]]
    curve: dict[str, tuple[float, ...]]
    # Per task: scored rows that a training text gives away.
    overlapping: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    tuning_clusters: int | None = None
    # Per task: the source tasks or experts that were chosen for it.
    learned_from: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    heads: bool = False  # were an encoder's heads trained on the frozen backbone


def keep_result(folder: Path, result: RunResult, answers: Mapping[str, Templated]) -> None:
    """Write what `finished` and `answers_of` read, and drop the checkpoint. All processes call it."""
    accelerator = Accelerator()
    if accelerator.is_main_process:
        with new_folder(folder / "result") as new:
            write_answers(new, answers)
            write_json(new / "result.json", result.model_dump(mode="json"))
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)  # of no more use, and three times the model's size
    accelerator.wait_for_everyone()


def write_answers(folder: Path, answers: Mapping[str, Templated]) -> None:
    """Write what `answers_of` reads into a folder called `result`."""
    arrays, names = {}, {}
    for task, one in answers.items():
        names[task] = {"metric": one.metric, "templates": one.templates, "dev": one.dev is not None}
        for part, found in {"scored": one, "dev": one.dev}.items():
            if found is not None:
                arrays[f"{task}/{part}/targets"] = np.ascontiguousarray(found.targets)
                arrays[f"{task}/{part}/answers"] = np.ascontiguousarray(found.answers)
    save_file(arrays, folder / "answers.safetensors")
    write_json(folder / "answers.json", names)


def finished(folder: Path) -> RunResult | None:
    """The result of a run that was finished in `folder`, or None."""
    path = folder / "result" / "result.json"
    return RunResult.model_validate_json(path.read_text()) if path.exists() else None


def answers_of(folder: Path) -> dict[str, Templated]:
    """What a finished run answered, by task; one seed."""
    arrays = load_file(folder / "result/answers.safetensors")
    found = {}
    for task, about in json.loads((folder / "result/answers.json").read_text()).items():

        def part(name: str, dev: Templated | None = None, task: str = task, about: dict = about) -> Templated:  # type: ignore[type-arg]
            targets, answers = (arrays[f"{task}/{name}/{kind}"] for kind in ("targets", "answers"))
            return Templated(about["metric"], tuple(about["templates"]), targets, answers, dev)

        found[task] = part("scored", part("dev") if about["dev"] else None)
    return found


def together(runs: list[dict[str, Templated]]) -> dict[str, Templated]:
    """Runs of the same recipe with different seeds as one, by task."""
    return {task: Templated.of_seeds([run[task] for run in runs]) for task in runs[0]}


@contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """The folder of a run, for this process only. Raises UserError when another one is at work there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            if Accelerator().is_main_process:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError("another process is at work here", where=folder, fix="wait for it to end") from None
        yield folder
