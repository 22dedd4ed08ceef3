"""Eight tasks that come one after the other: what each way of adding them does to those before.

    python bench/growth.py run FOLDER      train, and write bench/results/experts/growth.json (needs $MULTIGRAFT_DATA)
    python bench/growth.py                 print the tables

experts: an independent LoRA expert for each task. sequential: the whole backbone is tuned on one task after the other.
rehearsal: the same with a hundredth of the rows of each earlier task beside the new one's, in proportion (Scialom et
al. 2022, arXiv 2205.12393, section 3).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multigraft.files import write_json
from multigraft.mixing.schedule import parse
from multigraft.settings import build
from multigraft.strategies.answering import Answering, Model, answering
from multigraft.strategies.expert_retrieval import ExpertRetrieval
from multigraft.strategies.retrieval_recipe import RetrievalRecipe
from multigraft.strategies.whole import Whole, train_whole
from multigraft.tasks.suite import load_suite

RESULTS = Path(__file__).parent / "results" / "experts" / "growth.json"
TASKS = ("sst2", "ag_news", "trec", "tweet_offensive", "dbpedia", "tweet_emotion", "cr", "yelp5")
REHEARSED = 10  # rows of an earlier task, of 1,000
RECIPE: dict[str, Any] = {
    "suite": "recipes/flan", "backbone": {"name": "pocket"}, "method": {"name": "lora", "rank": 8},
    "templates": "no template", "examples": 1000, "dev_examples": 50, "scored_examples": 100,
    "text": {"max_input": 96, "max_target": 12},
    "training": {"steps": 60, "epochs": 2, "batch_size": 16, "learning_rate": 3e-4, "module_learning_rate": 2e-3,
                 "part_positions": 4096, "choose": "last"},
}  # fmt: skip


def run(folder: Path) -> None:
    """Train and score after every addition."""
    recipe = build(RetrievalRecipe, RECIPE | {"sources": TASKS, "targets": TASKS}, "recipe")
    tasks = list(load_suite(recipe.suite).subset(TASKS).tasks.values())
    asked = answering(recipe, tasks)
    rows = asked.train
    few = answering(recipe.model_copy(update={"examples": REHEARSED}), tasks)
    pool = ExpertRetrieval(folder / "experts").pool(recipe, quiet=True)
    own = {name: _mean(one.answers().scores()) for name, one in pool.own(TASKS).items()}
    found: dict[str, Any] = {"tasks": TASKS, "own": own, "sequential": [], "rehearsal": []}
    for way in ("sequential", "rehearsal"):
        before: Whole | None = None
        for number, task in enumerate(TASKS):
            earlier = TASKS[:number] if way == "rehearsal" else ()
            asked.train = {task: rows[task], **{name: few.train[name] for name in earlier}}
            before = train_whole(
                asked, [*earlier, task], {"name": "heads_only"}, recipe.training, parse("proportional", "schedule"),
                folder / way / f"{number}-{task}", tuned=True, scored=False, start=before.shared() if before else None,
                label=f"{way} {task}", quiet=True,
            )  # fmt: skip
            found[way].append(_scores(asked, before, TASKS[: number + 1]))
            print(way, task, found[way][-1], flush=True)
    write_json(RESULTS, found)


def _scores(asked: Answering, whole: Whole, tasks: tuple[str, ...]) -> dict[str, float]:
    model: Model = asked.model({name: name for name in tasks}, {"name": "heads_only"}, tuned=True, shared=True)
    state = dict(model.shared())
    with torch.no_grad():
        for name, tensor in whole.shared().items():
            state[name].copy_(tensor)
    return {name: _mean(asked.answers(model, 0, name).scores()) for name in tasks}


def _mean(scores: np.ndarray) -> float:
    return float(scores.mean())


def main() -> None:
    """Print what was kept."""
    found = json.loads(RESULTS.read_text())
    tasks, own = found["tasks"], found["own"]
    print("| after adding | experts | sequential | rehearsal | first task: experts | sequential | rehearsal |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for number, task in enumerate(tasks):
        means = [np.mean([own[name] for name in tasks[: number + 1]])]
        firsts = [own[tasks[0]]]
        for way in ("sequential", "rehearsal"):
            means.append(np.mean(list(found[way][number].values())))
            firsts.append(found[way][number][tasks[0]])
        print(f"| {task} | {' | '.join(f'{value:.1f}' for value in [*means, *firsts])} |")
    print("\n| way | score when added | score at the end | forgotten |\n|---|---:|---:|---:|")
    new, end = np.mean(list(own.values())), np.mean(list(own.values()))
    print(f"| experts | {new:.1f} | {end:.1f} | {new - end:.1f} |")
    for way in ("sequential", "rehearsal"):
        new = np.mean([found[way][number][task] for number, task in enumerate(tasks)])
        end = np.mean(list(found[way][-1].values()))
        print(f"| {way} | {new:.1f} | {end:.1f} | {new - end:.1f} |")


if __name__ == "__main__":
    run(Path(sys.argv[2])) if sys.argv[1:2] == ["run"] else main()
