"""Every selector and way of using experts on tasks that leave their own out: what `evaluation.selection` judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from multigraft.errors import UserError
from multigraft.evaluation.selection import Case, Selection, judge_selectors
from multigraft.library.parcel import Parcel
from multigraft.library.retrieval.selectors import SELECTORS, Selector, ranks
from multigraft.strategies.answering import WordAnswering
from multigraft.strategies.crossing import Crossed
from multigraft.strategies.expert_retrieval import ExpertRetrieval, mixed
from multigraft.strategies.pool import Pool
from multigraft.strategies.retrieval_recipe import LEAST_CONFIDENCE, RetrievalRecipe

Announce = Callable[[str], None]
FIRST = 3  # experts of a ranking that are merged or mixed
ABSTAINING = ("two_stage", "roe", "few_shot_loss")  # selectors whose first expert may give way to the backbone
MERGED_BY = ("roe", "few_shot_loss")  # selectors whose first experts are


def judge_experts(
    recipe: RetrievalRecipe, seeds: Sequence[int], folder: Path, *, announce: Announce, quiet: bool
) -> Selection:
    """Every selector on every target, with every seed; what is trained and asked in `folder` is not repeated.

    `recipe.leave_out` says which experts a target may not use. By default the sources with options are targets. Raises
    UserError as the strategy's check, and for a target without options, of which there are no probabilities.
    """
    way, cases = ExpertRetrieval(folder), []
    tasks = way.suite(recipe).tasks
    if recipe.targets is None:
        named = way.sources(recipe)
        options = tuple(name for name in named if tasks[name].output.kind == "choice")
        recipe = recipe.model_copy(update={"targets": options, "sources": tuple(named)})
    way.check(recipe.model_copy(update={"use": "oracle", "by": None, "k": 1}))
    targets, sources = way.targets(recipe), way.sources(recipe)
    for target in targets:
        if tasks[target].output.kind != "choice":
            raise UserError("its answers are no options", where=f"target {target}", fix="judge on tasks with options")
    for seed in seeds:
        one = recipe.model_copy(update={"seed": seed})
        pool = way.pool(one, quiet=quiet)
        announce(f"seed {seed}: experts of {len(sources)} tasks")
        experts = pool.parcels(sources)
        announce(f"seed {seed}: {len(experts)} experts on {len(targets)} targets")
        pool.crossing.cross(experts, targets)
        for target in targets:
            announce(f"seed {seed}: selectors for {target}")
            cases.append(_case(pool, target, way.open_to(one, target), own=set(targets) <= set(sources)))
    return judge_selectors(cases)


def _case(pool: Pool, target: str, sources: Sequence[str], *, own: bool) -> Case:
    experts = pool.parcels(sources)
    names = [expert.name for expert in experts]
    crossed = pool.crossing.cross(experts, [target])[target]
    answers = [crossed[name].answers() for name in names]
    rows = np.arange(len(answers[0].targets))
    halves = [[_score(one.scores_on(rows[rows % 2 == part][None])) for one in answers] for part in (0, 1)]
    predicted, passes = _predicted(pool, target, experts, sources)
    ways = _ways(pool, target, experts, crossed, predicted)
    if own:
        mine = pool.crossing.cross(pool.parcels([target]), [target])[target].values()
        ways["own expert"] = _score(max(mine, key=Crossed.dev).answers().scores())
    return Case(
        target=target,
        experts=tuple(names),
        none=_score(pool.crossing.bare([target])[target].answers().scores()),
        scores=np.array([_score(one.scores()) for one in answers]),
        halves=np.array(halves),
        predicted=predicted,
        passes=passes,
        ways=ways,
    )


def _predicted(
    pool: Pool, target: str, experts: list[Parcel], sources: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, tuple[int, int]]]:
    """What the selectors say that this kind of backbone and target has the inputs of, and what they take."""
    selectors = usable(pool)
    reads = frozenset[str]().union(*(one.reads for one in selectors.values()))
    known = pool.target(target, experts, sources, reads)
    candidates = pool.candidates(experts, reads)
    costs = {name: one.cost(known, candidates) for name, one in selectors.items()}
    return (
        {name: one.scores(known, candidates) for name, one in selectors.items()},
        {name: (cost.backbone, cost.encoder) for name, cost in costs.items()},
    )


def usable(pool: Pool) -> dict[str, Selector]:
    """Selectors by name; an encoder gives its inputs no likelihoods."""
    lacking = set() if isinstance(pool.asked, WordAnswering) else {"likelihoods"}
    found = {name: kind() for name, kind in SELECTORS.all().items() if name != "random"}  # of that, the expectation
    return {name: one for name, one in found.items() if not one.reads & lacking}


def _ways(
    pool: Pool, target: str, experts: list[Parcel], crossed: Mapping[str, Crossed], predicted: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Scores of what uses several experts."""
    names = [expert.name for expert in experts]
    merges = {"merge of all": experts}
    for by in MERGED_BY:
        order = np.argsort(ranks(predicted[by], names))[:FIRST]
        merges[f"merge of the {FIRST} first by {by}"] = [experts[i] for i in order]
    parcels = {name: pool.merged(of, name.replace(" ", "-")) for name, of in merges.items()}
    answered = pool.crossing.cross(list(parcels.values()), [target])[target]
    found = {name: _score(answered[parcel.name].answers().scores()) for name, parcel in parcels.items()}
    mixtures: dict[str, tuple[list[Crossed], np.ndarray | None]] = {
        f"mixture of the {FIRST} first by {by}": (
            [crossed[names[i]] for i in np.argsort(ranks(predicted[by], names))[:FIRST]], None
        )
        for by in MERGED_BY
    }  # fmt: skip
    mixtures[f"each input by its {FIRST} nearest"] = list(crossed.values()), pool.nearness(target, experts, FIRST)
    for name, (of, weights) in mixtures.items():
        found[name] = _score(mixed(of, weights).scores())
    bare = pool.crossing.bare([target])[target]
    for by in ABSTAINING:
        first = crossed[names[int(np.argmin(ranks(predicted[by], names)))]]
        surer = first if first.confidence(bare) >= LEAST_CONFIDENCE else bare
        found[f"{by} or the backbone"] = _score(surer.answers().scores())
    return found


def _score(scores: np.ndarray) -> float:
    return float(scores.mean())
