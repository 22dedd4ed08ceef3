"""What merged experts still know, and what they know of new tasks.

    python bench/merging_study.py run FOLDER    merge the experts that bench/experts.sh trained in FOLDER/pocket
    python bench/merging_study.py               print the table

Groups of experts on the embedded text-to-text backbone are merged in every way that needs no statistics. Scores: of the
members' own tasks, and of tasks without an expert in the group. What looks at a score looks at 32 training rows of each
member, on which nothing was trained.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from multigraft.files import write_json
from multigraft.library.merging.base import parse_merge
from multigraft.library.merging.experts import merge_experts
from multigraft.library.parcel import Parcel
from multigraft.settings import build
from multigraft.strategies.comparison import read_recipe
from multigraft.strategies.expert_retrieval import ExpertRetrieval
from multigraft.strategies.pool import Pool
from multigraft.strategies.retrieval_recipe import RetrievalRecipe

RESULTS = Path(__file__).parent / "results" / "experts" / "merging.json"
GROUPS = {
    "sentiment": (("sst2", "cr", "imdb"), ("yelp5", "amazon5", "tweet_offensive")),
    "topic": (("ag_news", "dbpedia", "trec"), ("tweet_emotion", "sst2")),
    "mixed": (("sst2", "ag_news", "qqp", "boolq"), ("cr", "dbpedia", "mrpc", "rte")),
}
WAYS: dict[str, dict[str, Any]] = {
    "uniform": {}, "task_arithmetic": {"scale": 1.0}, "ties": {}, "dare": {}, "soup": {}, "lorahub": {},
}  # fmt: skip


def run(folder: Path) -> None:
    """Merge, ask, and keep the scores."""
    recipe = build(RetrievalRecipe, read_recipe(Path("bench/experts_pocket.yaml")), "bench/experts_pocket.yaml")
    names = sorted({name for members, others in GROUPS.values() for name in (*members, *others)})
    way = ExpertRetrieval(folder / "pocket")
    pool = way.pool(recipe.model_copy(update={"sources": tuple(names), "targets": tuple(names)}))
    found: dict[str, Any] = {}
    for group, (members, others) in GROUPS.items():
        experts = pool.parcels(members)
        own = pool.crossing.cross(experts, [*members, *others])
        alone = {task: {name: _score(one) for name, one in by.items()} for task, by in own.items()}
        bare = {task: _score(one) for task, one in pool.crossing.bare([*members, *others]).items()}
        ways = {name: _merged(pool, name, experts, members, others) for name in WAYS}
        found[group] = {"members": members, "others": others, "alone": alone, "backbone": bare, "ways": ways}
        print(group, {name: np.mean([w[t] for t in members]) for name, w in ways.items()}, flush=True)
    write_json(RESULTS, found)


def _merged(
    pool: Pool, name: str, experts: list[Parcel], members: tuple[str, ...], others: tuple[str, ...]
) -> dict[str, float]:
    merge = parse_merge(name, WAYS[name])

    def score(weights: tuple[float, ...]) -> float:
        summed = parse_merge("task_arithmetic", {"scale": 1.0})
        tried = merge_experts(summed, experts, f"{name}-tried", weights=weights, heads=False).parcel
        return float(np.mean([by[tried.name].dev() for by in
                              pool.crossing.cross([tried], list(members), scored=False).values()]))  # fmt: skip

    parcel = merge_experts(merge, experts, name, score=score if "score" in merge.needs else None, heads=False).parcel
    return {task: _score(by[name]) for task, by in pool.crossing.cross([parcel], [*members, *others]).items()}


def _score(one: Any) -> float:
    return float(one.answers().scores().mean())


def main() -> None:
    """Print what was kept."""
    for group, found in json.loads(RESULTS.read_text()).items():
        members, others = found["members"], found["others"]
        print(f"\n{group}: {', '.join(members)}; new: {', '.join(others)}\n")
        print("| way | members' tasks | worst member | new tasks |\n|---|---:|---:|---:|")
        own = [found["alone"][task][task] for task in members]
        best = [max(found["alone"][task].values()) for task in others]
        rows = {
            "backbone alone": ([found["backbone"][task] for task in members], [found["backbone"][t] for t in others]),
            "each task's own expert": (own, []),
            "best member for each new task (oracle)": ([], best),
            **{name: ([one[t] for t in members], [one[t] for t in others]) for name, one in found["ways"].items()},
        }
        for name, (mine, new) in rows.items():
            cells = [f"{np.mean(mine):.1f}", f"{min(mine):.1f}"] if mine else ["–", "–"]
            print(f"| {name.replace('_', ' ')} | {' | '.join([*cells, f'{np.mean(new):.1f}' if new else '–'])} |")


if __name__ == "__main__":
    run(Path(sys.argv[2])) if sys.argv[1:2] == ["run"] else main()
