"""What a row of data costs on this machine, by kind of training, measured in a few steps on the rows at hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from multigraft.mixing.schedule import parse
from multigraft.settings import build
from multigraft.strategies.answering import Answering, answering
from multigraft.strategies.experts import Wanted, train_experts
from multigraft.strategies.prompt_recipe import PromptRecipe
from multigraft.strategies.whole import train_whole
from multigraft.tasks.task import Task

STEPS, ROWS = 4, 16  # that are timed
TASKS = 10  # that they are drawn from, spread over the suite: rows of some are read several times, once an option
ANSWERED = 32  # rows of a task


class Cost(NamedTuple):
    """Seconds for a row of data, and to begin with."""

    tuned: float  # in training a whole encoder
    expert: float  # an expert on a frozen one
    prompt: float  # a prompt
    words: float  # a whole text-to-text backbone; 0 without one
    answer: float  # in answering by an encoder
    answer_words: float  # in answering in words; 0 without a backbone that does
    load: float  # to read rows and load an encoder


def measure(
    tasks: Sequence[Task], backbone: str, words: str | None, length: int, expert: dict[str, Any], prompt: dict[str, Any]
) -> Cost:
    """Costs of an encoder that reads so many tokens, and of a text-to-text backbone if one is named."""
    few = [tasks[i * len(tasks) // min(TASKS, len(tasks))] for i in range(min(TASKS, len(tasks)))]
    with TemporaryDirectory() as folder:
        begin = time.perf_counter()
        heads = _answering(few, backbone, length, prompt)
        heads.model({name: name for name in heads.tasks}, prompt, tuned=False)
        load = time.perf_counter() - begin
        asked = _answering(few, words, length, prompt) if words else None
        return Cost(
            tuned=_tuned(heads, Path(folder) / "tuned"),
            expert=_experts(heads, expert, Path(folder) / "expert"),
            prompt=_experts(heads, prompt, Path(folder) / "prompt"),
            words=_tuned(asked, Path(folder) / "words") if asked else 0.0,
            answer=_answers(heads),
            answer_words=_answers(asked) if asked else 0.0,
            load=load,
        )


def _answering(tasks: Sequence[Task], backbone: str, length: int, prompt: dict[str, Any]) -> Answering:
    values = {
        "suite": "none", "backbone": {"name": backbone}, "method": prompt, "examples": 200, "dev_examples": 4,
        "scored_examples": ANSWERED, "templates": "no template", "text": {"max_input": 128, "max_target": 16},
        "training": {"steps": STEPS, "epochs": 1, "batch_size": ROWS, "max_length": length, "choose": "last",
                     "part_positions": 8192},
    }  # fmt: skip
    recipe = build(PromptRecipe, values, "plan")
    split = "validation" if all("validation" in task.split_names() for task in tasks) else "test"
    return answering(recipe.model_copy(update={"score_on": split}), tasks)


def _tuned(asked: Answering, folder: Path) -> float:
    training = asked.recipe.training.model_copy(update={"batches": "mixed"})
    whole = train_whole(
        asked, list(asked.tasks), {"name": "heads_only"}, training, parse("proportional"), folder,
        tuned=True, scored=False, label="", quiet=True,
    )  # fmt: skip
    return whole.outcome.train_seconds / (STEPS * ROWS)


def _experts(asked: Answering, method: dict[str, Any], folder: Path) -> float:
    wanted = [Wanted(name, name, asked.recipe.training) for name in asked.tasks]
    found = train_experts(asked, wanted, method, folder, label="", quiet=True)
    return sum(one.outcome.train_seconds for one in found.values()) / (STEPS * ROWS * len(found))


def _answers(asked: Answering) -> float:
    experts = {name: name for name in asked.tasks}
    model = asked.model(experts, {"name": "heads_only"}, tuned=False)
    begin, rows = time.perf_counter(), 0
    for number, name in enumerate(experts):
        rows += len(asked.scored(name))
        asked.answers(model, number, name)
    return (time.perf_counter() - begin) / max(rows, 1)
