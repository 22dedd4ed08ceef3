"""A comparison of all ways of sharing that fits a suite, a machine and a budget of time.

All ways draw the same number of rows of each task, with the same seeds, and score the same rows. What a row costs is
measured on this machine, on rows of this suite, before anything is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from multigraft.backbones.load import load_backbone, writes
from multigraft.errors import UserError, unknown
from multigraft.strategies.costs import Cost, measure
from multigraft.strategies.crossing import FEW
from multigraft.tasks.suite import Suite
from multigraft.tasks.task import Task

BATCH = 16  # rows in a step
LEAST, MOST = 2, 500  # steps of each task
PASSES = 5  # over the training rows of an average task, at most
SCORED = 400, 200, 100, 50  # rows of each task that are scored, at most: the most that takes no more than
SCORING = 0.35  # of the time
LOADS = 2  # times that a way loads its backbone: to be checked, and to be run
EXAMPLES = 2000  # training rows of each task
EPOCHS = 2  # parts of a run, after which it is scored
SHARE = 0.8  # of the budget that the estimate may fill: the rest is for what is not estimated
LORA = {"name": "lora", "rank": 8}
PROMPT_LENGTH = 20
PROMPT = {"name": "soft_prompt", "length": PROMPT_LENGTH}


class Way(NamedTuple):
    """A row of the comparison, and the kind of cost that a row of data has in it; None where it trains nothing."""

    row: dict[str, Any]
    training: str | None


class Plan(NamedTuple):
    """What is to be run, and what it should take."""

    recipe: dict[str, Any]
    unseen: dict[str, Any] | None  # who answers for tasks that nothing is trained on; None without any
    rows: int  # of each task that every way draws
    seconds: float
    left_out: dict[str, str]  # tasks of the suite that are not compared, and why


class Size(NamedTuple):
    """How long the runs are."""

    steps: int  # of BATCH rows, of each task
    scored: int  # rows of each task, at most
    seconds: float  # of everything


class Choice(NamedTuple):
    """Tasks of a suite: to train on and to score, to score only, and the others with what is wrong with them."""

    seen: list[Task]
    unseen: list[Task]
    left_out: dict[str, str]


def encoder_ways(tasks: int) -> list[Way]:
    """The ways of an encoder; transfer and mixtures need other tasks to learn from."""
    multitask, prompts = {"strategy": "multitask"}, {"strategy": "prompt_transfer"}
    experts = {"strategy": "expert_retrieval", "method": LORA, "leave_out": "nothing"}
    mixed = {"batches": "mixed"}
    several = [
        Way({"label": "one shared encoder", **multitask, "method": "heads_only", "training": mixed}, "tuned"),
        Way({"label": "low-rank modules", **multitask, "method": "low_rank", "training": mixed}, "tuned"),
        Way({"label": "transferred prompts", **prompts, "method": PROMPT, "transfer": {"by": "text"}}, "prompt"),
        Way({"label": "one expert for all", **experts, "use": "multitask"}, "expert"),
        Way({"label": "retrieved experts (RoE)", **experts, "use": "select", "by": "roe"}, None),
        Way({"label": "all experts merged", **experts, "use": "merge", "k": None}, None),
    ]
    return [
        Way({"label": "separate models", **multitask, "separate": True, "method": "heads_only"}, "tuned"),
        Way({"label": "prompts", **prompts, "method": PROMPT}, "prompt"),
        Way({"label": "own experts", **experts, "use": "own"}, "expert"),
        *(several if tasks > 1 else []),
    ]


def word_ways(backbone: str) -> list[Way]:
    """Instruction tuning of a text-to-text backbone."""
    row = {
        "label": "instruction tuning", "strategy": "instruction_tuning", "backbone": {"name": backbone}, "seen": True,
        "score_templates": "no template", "templates": "no template", "dev_examples": 0,
        "text": {"max_input": 128, "max_target": 16},
    }  # fmt: skip
    return [Way(row, "words")]


def unseen_ways(seen: Sequence[str], unseen: Sequence[str], words: str | None) -> list[Way]:
    """Who answers for a task that nothing was trained on: experts of others, and instructions zero-shot."""
    experts = {"strategy": "expert_retrieval", "method": LORA, "leave_out": "nothing", "sources": list(seen),
               "targets": list(unseen)}  # fmt: skip
    several: list[dict[str, Any]] = [
        {"label": "retrieved expert (two-stage)", "use": "select", "by": "two_stage"},
        {"label": "the 3 first by few-shot loss", "use": "mixture", "by": "few_shot_loss", "k": 3},
        {"label": "all experts merged", "use": "merge", "k": None},
        {"label": "one expert for all", "use": "multitask"},
        {"label": "oracle", "use": "oracle"},
    ]
    retrieved = {"label": "retrieved expert (RoE)", "use": "select", "by": "roe"}
    uses = [{"label": "backbone alone", "use": "backbone"}, retrieved, *(several if len(seen) > 1 else [])]
    told = [{**way.row, "seen": False, "unseen": list(unseen)} for way in word_ways(words)] if words else []
    return [
        *(Way({**experts, **use}, None) for use in uses),
        *(Way({**row, "label": "untuned in words", "untuned": True}, "words") for row in told),
        *(Way(row, "words") for row in told),
    ]


def choose_tasks(suite: Suite, wanted: Sequence[str], unseen: Sequence[str]) -> Choice:
    """Tasks that every way can answer and that have rows to train on and to score, and why others are left out.

    wanted, unseen: names of tasks, or of clusters; where none are wanted, all are. Raises UserError when none is left
    to train on, for a name that is not there, and for one that cannot be scored.
    """
    for option, names in (("--task", wanted), ("--unseen", unseen)):
        for name in names:
            if name not in suite.tasks and name not in suite.clusters:
                raise unknown("task or cluster", name, [*suite.tasks, *suite.clusters], where=option)
    found = Choice([], [], {})
    for name, task in suite.tasks.items():
        if wanted and not {name, *task.clusters} & {*wanted, *unseen}:
            continue
        splits = task.split_names()
        if task.output.kind == "text":
            found.left_out[name] = "answered with a text, which heads do not write"
        elif "train" not in splits or not {"validation", "test"} & set(splits):
            found.left_out[name] = "lacks training rows, or rows to score"
        else:
            (found.unseen if {name, *task.clusters} & set(unseen) else found.seen).append(task)
    for name in unseen:
        if not any(name in (task.name, *task.clusters) for task in found.unseen):
            raise UserError(f"{name!r} {found.left_out.get(name, 'has no task to score')}", where="--unseen",
                            fix="name another task")  # fmt: skip
    if not found.seen:
        reasons = "; ".join(f"{name}: {why}" for name, why in found.left_out.items())
        raise UserError(f"no task to train on{f': {reasons}' if reasons else ''}", where=suite.name,
                        fix="give a suite with labelled rows")  # fmt: skip
    return found


def make_plan(
    suite: Suite, place: str, budget: float, *, backbone: str, words: str | None, wanted: Sequence[str] = (),
    unseen: Sequence[str] = (),
) -> Plan:  # fmt: skip
    """The plan for a budget in seconds. place: how the suite is named in recipes.

    words: a text-to-text backbone for instruction tuning. wanted, unseen: as in `choose_tasks`. Raises UserError as it
    does, and when even the shortest run does not fit.
    """
    chosen = choose_tasks(suite, wanted, unseen)
    if writes(backbone):
        raise UserError(
            f"{backbone} is no encoder", where="--backbone", fix="name it with --words, and an encoder here"
        )
    names, new = [task.name for task in chosen.seen], [task.name for task in chosen.unseen]
    tasks = [*chosen.seen, *chosen.unseen]
    length = _length(tasks, backbone)
    cost = measure(chosen.seen, backbone, words, length, LORA, PROMPT)
    ways = [*encoder_ways(len(names)), *(word_ways(words) if words else [])]
    rows = float(np.mean([len(task.examples("train", EXAMPLES)) for task in chosen.seen]))
    size = _size(budget, cost, ways, len(names), len(new), rows)
    split = "test" if all("test" in task.split_names() for task in tasks) else "validation"
    common = _common(place, size, split, length)

    def recipe(title: str, scored: list[str], ways: Sequence[Way]) -> dict[str, Any]:
        return {"title": title, "tasks": scored, **common, "rows": _rows(ways, names, backbone, common)}

    others = recipe("Unseen tasks", [*names, *new], unseen_ways(names, new, words)) if new else None
    main = recipe("All ways of sharing", names, ways)
    return Plan(main, others, size.steps * BATCH, size.seconds, chosen.left_out)


def _size(budget: float, cost: Cost, ways: Sequence[Way], tasks: int, new: int, rows: float) -> Size:
    """What fits into the budget. rows: training rows of an average task. Raises UserError when nothing does."""
    each = tasks * sum(getattr(cost, way.training) for way in ways if way.training)
    for scored in SCORED:
        fixed = LOADS * cost.load * (len(ways) + tasks)  # separate models are loaded one by one
        fixed += scored * (tasks * _answers(cost, ways) + new * _answers_unseen(cost, tasks))
        fixed += FEW * tasks**2 * cost.answer if new else 0.0  # every expert on every task that is known
        if fixed <= SCORING * SHARE * budget:
            break
    steps = int((SHARE * budget - fixed) / each / BATCH)
    if steps < LEAST:
        need = (fixed + each * BATCH * LEAST) / SHARE
        raise UserError(f"{tasks + new} tasks take {need / 60:.0f} minutes at least on this machine", where="--budget",
                        fix="give more time, or fewer tasks with --task")  # fmt: skip
    steps = min(steps, MOST, max(LEAST, int(PASSES * rows / BATCH)))
    return Size(steps, scored, fixed + each * BATCH * steps)


def _answers(cost: Cost, ways: Sequence[Way]) -> float:
    """Seconds to score a row of one task in all ways: after each part of a run, and at its end."""
    return sum(
        cost.answer_words if way.training == "words" else cost.answer * (EPOCHS + 1 if way.training else 1)
        for way in ways
    )


def _answers_unseen(cost: Cost, experts: int) -> float:
    """Seconds to score a row of an unseen task: by every expert, by a merge and the backbone, and in words twice."""
    return cost.answer * (experts + 3) + 2 * cost.answer_words


def _common(place: str, size: Size, split: str, length: int) -> dict[str, Any]:
    """What all rows share."""
    return {
        "strategy": "several",
        "suite": place,
        "examples": EXAMPLES,
        "scored_examples": size.scored,
        "score_on": split,
        "seeds": [0],
        "training": {
            "steps": size.steps, "epochs": min(EPOCHS, size.steps), "batch_size": BATCH, "max_length": length,
            "learning_rate": 1e-4, "module_learning_rate": 1e-3, "head_learning_rate": 1e-3, "checkpoint_seconds": 20,
        },
    }  # fmt: skip


def _rows(ways: Sequence[Way], tasks: Sequence[str], backbone: str, common: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows with their training; a run on all tasks at once is as many steps longer."""
    steps, rows = common["training"]["steps"], []
    for way in ways:
        row = dict(way.row)
        together = row["strategy"] in ("multitask", "instruction_tuning")
        training: dict[str, Any] = {"steps": steps * (len(tasks) if together else 1)}
        if row["strategy"] == "prompt_transfer":
            training |= {"optimizer": "adafactor", "module_learning_rate": 0.3, "decay": "constant", "warmup": 0.0}
            training |= {"weight_decay": 1e-5, "clip": None}
        if row["strategy"] != "instruction_tuning":
            row["backbone"] = {"name": backbone, "pooling": "mean"}
        if row["strategy"] in ("prompt_transfer", "expert_retrieval"):
            training |= {"part_positions": 8192}
            row["dev_examples"] = common["scored_examples"]
        row["training"] = {**training, **row.get("training", {})}
        rows.append(row)
    return rows


def _length(tasks: Sequence[Task], backbone: str) -> int:
    """Tokens that nine of ten rows have at most, in steps of 16, from 32 to 256 or to what a prompt leaves room for."""
    loaded, lengths = load_backbone(backbone, pretrained=False), []
    tokenizer, room = loaded.tokenizer, loaded.max_length - PROMPT_LENGTH
    for task in tasks:
        for row in task.examples("train", 50):
            options = max((len(tokenizer(option)["input_ids"]) for option in row.choices), default=0)
            by_row = task.output.kind == "choice" and task.output.choices is None
            lengths.append(len(tokenizer(" ".join(row.inputs))["input_ids"]) + (options if by_row else 0))
    return min(room, int(np.clip(16 * np.ceil(np.quantile(lengths, 0.9) / 16), 32, 256)))
