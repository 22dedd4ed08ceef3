"""A comparison of all ways of sharing that fits a suite, a machine and a budget of time.

All ways draw the same number of rows of each task, with the same seeds, and score the same rows. What a row costs is
measured on this machine, on rows of this suite, before anything is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from multigraft.backbones.load import load_backbone
from multigraft.errors import UserError
from multigraft.strategies.costs import measure
from multigraft.tasks.suite import Suite
from multigraft.tasks.task import Task

BATCH = 16  # rows in a step
LEAST, MOST = 2, 500  # steps of each task
PASSES = 5  # over the training rows of an average task, at most
SCORED, FEWEST = 200, 50  # rows of each task that are scored, at most, and where time is short
EXAMPLES = 2000  # training rows of each task
EPOCHS = 2  # parts of a run, after which it is scored
SHARE = 0.8  # of the budget that the estimate may fill: the rest is for what is not estimated
LORA = {"name": "lora", "rank": 8}
PROMPT = {"name": "soft_prompt", "length": 20}


class Way(NamedTuple):
    """A row of the comparison, and the kind of cost that a row of data has in it."""

    row: dict[str, Any]
    training: str


class Plan(NamedTuple):
    """What is to be run, and what it should take."""

    recipe: dict[str, Any]
    rows: int  # of each task that every way draws
    seconds: float
    left_out: dict[str, str]  # tasks of the suite that are not compared, and why


def encoder_ways(tasks: int) -> list[Way]:
    """The ways of an encoder; transfer and mixtures need other tasks to learn from."""
    multitask, prompts, experts = ({"strategy": name} for name in ("multitask", "prompt_transfer", "expert_retrieval"))
    mixed = {"batches": "mixed"}
    several = [
        Way({**multitask, "method": "heads_only", "training": mixed}, "tuned"),
        Way({**multitask, "method": "low_rank", "training": mixed}, "tuned"),
        Way({**prompts, "method": PROMPT, "transfer": {"by": "text"}}, "prompt"),
        Way({**experts, "method": LORA, "use": "multitask", "leave_out": "nothing"}, "expert"),
    ]
    return [
        Way({**multitask, "separate": True, "method": "heads_only"}, "tuned"),
        Way({**prompts, "method": PROMPT}, "prompt"),
        Way({**experts, "method": LORA, "use": "own", "leave_out": "nothing"}, "expert"),
        *(several if tasks > 1 else []),
    ]


def word_ways(backbone: str) -> list[Way]:
    """Instruction tuning of a text-to-text backbone."""
    row = {
        "strategy": "instruction_tuning", "backbone": {"name": backbone}, "seen": True,
        "score_templates": "no template", "templates": "no template", "text": {"max_input": 128, "max_target": 16},
    }  # fmt: skip
    return [Way(row, "words")]


def choose_tasks(suite: Suite, unseen: Sequence[str]) -> tuple[list[Task], dict[str, str]]:
    """Tasks that every way can answer and that have rows to train on and to score, and why others are left out.

    Raises UserError when there is none, and for an unseen task that is not there.
    """
    if unseen:
        suite.subset(unseen)
    chosen, out = [], {}
    for name, task in suite.tasks.items():
        splits = task.split_names()
        if task.output.kind == "text":
            out[name] = "answered with a text, which heads do not write"
        elif "train" not in splits or not {"validation", "test"} & set(splits):
            out[name] = "lacks training rows, or rows to score"
        elif name in unseen:
            out[name] = "unseen"
        else:
            chosen.append(task)
    if not chosen:
        reasons = "; ".join(f"{name}: {why}" for name, why in out.items())
        raise UserError(f"no task to compare: {reasons}", where=suite.name, fix="give a suite with labelled rows")
    return chosen, out


def make_plan(
    suite: Suite, place: str, budget: float, *, backbone: str, words: str | None, unseen: Sequence[str] = ()
) -> Plan:
    """The plan for a budget in seconds. place: how the suite is named in recipes.

    words: a text-to-text backbone for instruction tuning. Raises UserError when even the shortest run does not fit.
    """
    tasks, left_out = choose_tasks(suite, unseen)
    if load_backbone(backbone, pretrained=False).writes:
        raise UserError(
            f"{backbone} is no encoder", where="--backbone", fix="name it with --words, and an encoder here"
        )
    length = _length(tasks, backbone)
    cost = measure(tasks, backbone, words, length, LORA, PROMPT)
    ways = [*encoder_ways(len(tasks)), *(word_ways(words) if words else [])]
    split = "test" if all("test" in task.split_names() for task in tasks) else "validation"
    rows = np.mean([len(task.examples("train", EXAMPLES)) for task in tasks])
    for scored in (SCORED, FEWEST):
        # Every way is scored on as many rows after each part of its run, and then on the scored ones.
        answers = sum(cost.answer_words if way.training == "words" else cost.answer for way in ways)
        fixed = len(tasks) * scored * (EPOCHS + 1) * answers
        each = len(tasks) * sum(getattr(cost, way.training) for way in ways)
        steps = int((SHARE * budget - fixed) / each / BATCH)
        if steps >= LEAST:
            break
    if steps < LEAST:
        need = (fixed + each * BATCH * LEAST) / SHARE
        raise UserError(f"{len(tasks)} tasks take {need / 60:.0f} minutes at least on this machine", where="--budget",
                        fix="give more time, or fewer tasks with --task")  # fmt: skip
    passes = max(LEAST, int(PASSES * rows / BATCH))
    steps = min(steps, MOST, passes)
    recipe = _recipe(place, [task.name for task in tasks], ways, steps, scored, split, backbone, length)
    return Plan(recipe, steps * BATCH, fixed + each * BATCH * steps, left_out)


def _recipe(
    place: str, tasks: list[str], ways: Sequence[Way], steps: int, scored: int, split: str, backbone: str, length: int
) -> dict[str, Any]:
    """All ways as one recipe; a run on all tasks at once is as many steps longer."""
    epochs = min(EPOCHS, steps)
    rows = []
    for way in ways:
        row = dict(way.row)
        together = row["strategy"] in ("multitask", "instruction_tuning")
        training: dict[str, Any] = {"steps": steps * (len(tasks) if together else 1), "epochs": epochs}
        if row["strategy"] == "prompt_transfer":
            training |= {"optimizer": "adafactor", "module_learning_rate": 0.3, "decay": "constant", "warmup": 0.0}
            training |= {"weight_decay": 1e-5, "clip": None}
        if row["strategy"] != "instruction_tuning":
            row["backbone"] = {"name": backbone, "pooling": "mean"}
        if row["strategy"] in ("prompt_transfer", "expert_retrieval"):
            training |= {"part_positions": 8192}
            row["dev_examples"] = scored
        row["training"] = {**training, **row.get("training", {})}
        rows.append(row)
    return {
        "title": "All ways of sharing",
        "strategy": "several",
        "suite": place,
        "tasks": tasks,
        "examples": EXAMPLES,
        "scored_examples": scored,
        "score_on": split,
        "seeds": [0],
        "training": {
            "steps": steps, "epochs": epochs, "batch_size": BATCH, "max_length": length, "learning_rate": 1e-4,
            "module_learning_rate": 1e-3, "head_learning_rate": 1e-3, "checkpoint_seconds": 20,
        },
        "rows": rows,
    }  # fmt: skip


def _length(tasks: Sequence[Task], backbone: str) -> int:
    """Tokens that nine of ten rows have at most, in steps of 16, from 32 to 256."""
    tokenizer = load_backbone(backbone, pretrained=False).tokenizer
    lengths = []
    for task in tasks:
        for row in task.examples("train", 50):
            options = max((len(tokenizer(option)["input_ids"]) for option in row.choices), default=0)
            by_row = task.output.kind == "choice" and task.output.choices is None
            lengths.append(len(tokenizer(" ".join(row.inputs))["input_ids"]) + (options if by_row else 0))
    return int(np.clip(16 * np.ceil(np.quantile(lengths, 0.9) / 16), 32, 256))
