"""Answers from the studies of experts, as Markdown: `python bench/experts.py`."""

from __future__ import annotations

from pathlib import Path

import composition
import growth
import merging_study
import numpy as np

from multigraft.evaluation.selection import Selection, Way
from multigraft.reports import figures
from multigraft.strategies.expert_clusters import Clusters

FOLDER = Path(__file__).parent / "results" / "experts"


def scores(found: Selection) -> str:
    """Who answers, and how well."""
    lines = ["| who answers | score | gain | 95 % | over the same for all | 95 % | p | gap closed |",
             "|---|---:|---:|---|---:|---|---:|---:|"]  # fmt: skip
    for way in sorted(found.ways, key=lambda way: -way.score):
        over = figures.NONE if way.over_single_interval is None else figures.signed(way.over_single, 2)
        p = figures.NONE if way.over_single_p is None else figures.p_value(way.over_single_p)
        gap = figures.NONE if way.gap_closed is None else f"{100 * way.gap_closed:.0f} %"
        lines.append(
            f"| {_name(way)} | {way.score:.2f} | {figures.signed(way.gain, 2)} | {figures.interval(way.interval, 2)} | "
            f"{over} | {figures.interval(way.over_single_interval, 2)} | {p} | {gap} |"
        )
    return "\n".join(lines)


def orders(found: Selection) -> str:
    """How good the orders of selectors are, and what they cost."""
    lines = ["| selector | regret | of the 3 first | NDCG | median rank | rows | embedded |",
             "|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for way in sorted(found.ways, key=lambda way: way.median_rank or 0):
        if way.regret is None:
            continue
        passes = [
            figures.NONE if value is None else f"{value:.0f}" for value in (way.backbone_passes, way.encoder_passes)
        ]
        lines.append(
            f"| {_name(way)} | {way.regret[1]:.2f} | {way.regret[3]:.2f} | {way.ndcg:.3f} | {way.median_rank:.1f} of "
            f"{found.experts:.0f} | {' | '.join(passes)} |"
        )
    return "\n".join(lines)


def clusters(found: Clusters) -> str:
    """Clusters that were found, beside those that are named."""
    lines = ["| task | named | by weights | by texts |", "|---|---|---:|---:|"]
    weights, texts = found.found
    for task in sorted(found.tasks, key=lambda task: (weights.groups[task], task)):
        lines.append(f"| {task} | {found.named[task]} | {weights.groups[task] + 1} | {texts.groups[task] + 1} |")
    index = [figures.NONE if one.rand_index is None else f"{one.rand_index:.2f}" for one in found.found]
    return "\n".join([*lines, f"| adjusted Rand index | | {index[0]} | {index[1]} |"])


def retrained(found: Clusters) -> str:
    """What one expert for each cluster is worth."""
    if not found.retrained:
        return ""
    scores = np.array([(one.own, one.of_cluster, one.of_suite) for one in found.retrained.values()])
    above = (scores[:, 1] > scores[:, 2]).sum(), (scores[:, 1] > scores[:, 0]).sum()
    own, of_cluster, of_suite = scores.mean(axis=0)
    return "\n".join([
        "| expert for | mean score | tasks on which the found cluster's is above |",
        "|---|---:|---:|",
        f"| each task | {own:.1f} | {above[1]} of {len(scores)} |",
        f"| each cluster by weights | {of_cluster:.1f} | – |",
        f"| each named cluster | {of_suite:.1f} | {above[0]} of {len(scores)} |",
    ])  # fmt: skip


def _name(way: Way) -> str:
    return way.name.replace("_", " ")


def main() -> None:
    """Print what was kept."""
    for path in sorted(FOLDER.glob("*-*.json")):
        if path.stem.endswith("clusters"):
            grouped = Clusters.model_validate_json(path.read_text())
            print(f"\n### {path.stem}\n\n{clusters(grouped)}\n\n{retrained(grouped)}")
            continue
        found = Selection.model_validate_json(path.read_text())
        print(f"\n### {path.stem}\n\n{len(found.targets)} targets, {found.experts:.0f} experts for each, "
              f"seeds: {found.seeds}\n\n{scores(found)}\n\n{orders(found)}")  # fmt: skip
    for study in (merging_study, growth, composition):
        if study.RESULTS.exists():
            print(f"\n### {study.RESULTS.stem}\n")
            study.main()


if __name__ == "__main__":
    main()
