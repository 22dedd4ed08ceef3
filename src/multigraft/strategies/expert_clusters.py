"""Clusters of tasks that are found by their experts or texts, beside those that the suite's author named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.metrics import adjusted_rand_score

from multigraft.errors import UserError
from multigraft.library.similarity import cluster, direction, similarities
from multigraft.settings import Record
from multigraft.strategies.expert_runs import own_experts
from multigraft.strategies.pool import Pool, early_vector
from multigraft.strategies.retrieval_recipe import RetrievalRecipe

By = Literal["weights", "texts"]


class Found(Record):
    """Clusters by one kind of vector."""

    by: By
    groups: dict[str, int]  # number of each task's cluster
    rand_index: float | None  # adjusted, with the suite's clusters: 0 by chance, 1 for the same; None for one cluster
    similarity: tuple[tuple[float, ...], ...]  # N x N, in the order of `groups`


class Retrained(Record):
    """Scores of a task, in per cent."""

    own: float  # of its own expert
    of_cluster: float  # of one expert for its found cluster
    of_suite: float  # of one expert for its named cluster


class Clusters(Record):
    """What was found, and if it was asked for, what one expert for each cluster is worth."""

    tasks: tuple[str, ...]
    named: dict[str, str]  # the suite's cluster of each task, its first
    found: tuple[Found, ...]
    retrained: dict[str, Retrained]  # by the clusters of weights


def find_clusters(recipe: RetrievalRecipe, folder: Path, count: int | None, *, retrain: bool, quiet: bool) -> Clusters:
    """Cluster the sources by their experts' early weights and by their texts, into `count` or as many as the suite has.

    Average linkage of cosines, of which the mean over the tasks is taken away first: experts that start alike stay
    alike. retrain: train one expert for each cluster of weights and for each of the suite's, with as many rows as its
    tasks' own experts have together. Raises UserError for fewer than three tasks, and a count that does not fit.
    """
    recipe = recipe.model_copy(update={"leave_out": "nothing", "per": "task"})
    pool, trained = own_experts(recipe, folder, quiet=quiet)
    names = list(trained)
    named = {name: pool.asked.tasks[name].clusters[0] for name in names}
    wanted = count or len(set(named.values()))
    if len(names) < 3 or not 1 <= wanted <= len(names):
        raise UserError(f"{wanted} clusters of {len(names)} tasks", where=recipe.suite, fix="name three tasks or more")
    vectors = {
        "weights": np.stack([early_vector(one.early()) for one in trained.values()]),
        "texts": np.stack([pool.keys(name).mean(axis=0) for name in names]),
    }
    found = [_found(by, names, vectors[by], named, wanted) for by in ("weights", "texts")]  # type: ignore[arg-type]
    scores = _retrained(pool, found[0].groups, named) if retrain else {}
    return Clusters(tasks=tuple(names), named=named, found=tuple(found), retrained=scores)


def _found(by: By, names: Sequence[str], vectors: np.ndarray, named: dict[str, str], count: int) -> Found:
    directions = direction(vectors - vectors.mean(axis=0))
    similarity = similarities(directions)
    groups = cluster(similarity).groups(count)
    several = len(set(named.values())) > 1 and count > 1
    return Found(
        by=by,
        groups=dict(zip(names, groups.tolist(), strict=True)),
        rand_index=float(adjusted_rand_score([named[name] for name in names], groups)) if several else None,
        similarity=tuple(tuple(row) for row in similarity.tolist()),
    )


def _retrained(pool: Pool, groups: dict[str, int], named: dict[str, str]) -> dict[str, Retrained]:
    own = pool.own(list(groups))
    by_group, by_name = _scores(pool, groups), _scores(pool, named)
    return {
        name: Retrained(own=float(one.answers().scores().mean()), of_cluster=by_group[name], of_suite=by_name[name])
        for name, one in own.items()
    }


def _scores(pool: Pool, labels: dict[str, int] | dict[str, str]) -> dict[str, float]:
    """Of one expert for all tasks with the same label; of a task alone, of its own."""
    found: dict[str, float] = {}
    for label in dict.fromkeys(labels.values()):
        members = [name for name, mine in labels.items() if mine == label]
        answers = (
            pool.multitask(members).answers()
            if len(members) > 1
            else {members[0]: pool.own(members)[members[0]].answers()}
        )
        found |= {name: float(answers[name].scores().mean()) for name in members}
    return found
