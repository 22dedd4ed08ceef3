"""Retrieval of experts: independent experts on a frozen model, of which some answer for a target (arXiv 2302.03202)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from multigraft.errors import UserError
from multigraft.evaluation.metrics import METRICS
from multigraft.evaluation.template_statistics import Templated
from multigraft.library.parcel import Parcel
from multigraft.library.retrieval.selectors import SELECTORS, ranks
from multigraft.library.similarity import embeddings, similarities
from multigraft.methods.base import parse_method
from multigraft.strategies.cards import write_experts
from multigraft.strategies.comparison import Comparison, RunRecipe
from multigraft.strategies.crossing import Crossed, templated
from multigraft.strategies.expert_strategy import ExpertStrategy
from multigraft.strategies.experts import Outcome, finished_experts
from multigraft.strategies.pool import Pool, early_vector
from multigraft.strategies.results import TaskMap
from multigraft.strategies.retrieval_recipe import CompareRetrieval, RetrievalRecipe
from multigraft.strategies.runs import RunResult, finished, keep_result
from multigraft.strategies.whole import WholeOutcome


@dataclass(frozen=True)
class Answered:
    """How a run answers for one target, with how many experts at once, what was trained for it, by folder, and of it
    what was chosen."""

    answers: Templated
    experts: int
    trained: Mapping[Path, Outcome | WholeOutcome]
    chosen: tuple[str, ...] = ()


class ExpertRetrieval(ExpertStrategy):
    """Experts of all sources are trained at once; who answers for a target is what rows differ in.

    What is trained and asked is kept under `experts/`, so that rows which use the same experts share them.
    """

    name: ClassVar[str] = "expert_retrieval"
    recipe: ClassVar[type[RunRecipe]] = RetrievalRecipe
    comparison: ClassVar[type[Comparison]] = CompareRetrieval

    def __init__(self, root: Path, *, alone: bool = False) -> None:
        super().__init__(root, alone=alone)
        self._pools: dict[str, Pool] = {}

    def check(self, recipe: RetrievalRecipe) -> None:
        targets, sources = self.targets(recipe), self.sources(recipe)
        pool = self.pool(recipe)
        parse_method(recipe.method).check(pool.asked.backbone(), pool.asked.longest())
        for target in targets:
            if recipe.use == "own" and target not in sources:
                raise UserError(f"{target!r} is no source: it has no expert of its own", where="targets",
                                fix="name it in 'sources' too, or take another 'use'")  # fmt: skip
            if recipe.use not in ("own", "backbone") and not self.open_to(recipe, target):
                fix = "name more 'sources', or say 'leave_out: nothing'"
                raise UserError(f"no expert is left for {target!r}", where="leave_out", fix=fix)

    def run(self, recipe: RetrievalRecipe, folder: Path, *, quiet: bool) -> RunResult:
        done = finished(folder)
        if done is not None:
            return done
        pool = self.pool(recipe, quiet=quiet)
        if recipe.use == "own":
            pool.own(self.targets(recipe))  # all at once
        found = {target: self._answered(recipe, pool, target) for target in self.targets(recipe)}
        result = self._result(recipe, pool, found)
        keep_result(folder, result, {target: one.answers for target, one in found.items()})
        return result

    def write_model(self, recipe: RetrievalRecipe, folder: Path, output: Path) -> None:
        """The targets' own experts, on the frozen backbone."""
        if recipe.use != "own" or recipe.per != "task":
            super().write_model(recipe, folder, output)
        pool = self.pool(recipe)
        write_experts(pool.asked, pool.own(self.targets(recipe)), output)

    def task_map(self, recipes: Sequence[RetrievalRecipe]) -> TaskMap | None:
        """Cosine of the experts' early weights, of the first row that trained at least two."""
        for recipe in recipes:
            trained = finished_experts(self.place(recipe) / "own", self.suite(recipe).tasks)
            if len(trained) > 1:
                vectors = (early_vector(one.early())[None] for one in trained.values())
                alike = similarities(embeddings(vectors, "average_tokens"))
                return TaskMap(
                    tasks=tuple(trained),
                    what="experts after a tenth of their training, by the cosine of their weights",
                    similarity=tuple(tuple(row) for row in alike.tolist()),
                )
        return None

    def pool(self, recipe: RetrievalRecipe, *, quiet: bool = True) -> Pool:
        """The experts of a recipe and seed; those of the last one are kept."""
        key = f"{recipe.experts_key()}/{recipe.seed}/{recipe.targets}/{recipe.sources}"
        if key not in self._pools:
            names = dict.fromkeys([*self.targets(recipe), *self.sources(recipe)])
            tasks = [self.suite(recipe).tasks[name] for name in names]
            self._pools = {key: Pool(recipe, tasks, self.place(recipe), quiet=quiet)}
        self._pools[key].quiet = quiet
        return self._pools[key]

    def open_to(self, recipe: RetrievalRecipe, target: str) -> list[str]:
        """Source tasks whose experts a target may use."""
        tasks, sources = self.suite(recipe).tasks, self.sources(recipe)
        if recipe.leave_out == "nothing":
            return sources
        if recipe.leave_out == "task":
            return [name for name in sources if name != target]
        own = set(tasks[target].clusters)
        return [name for name in sources if not own.intersection(tasks[name].clusters)]

    def _answered(self, recipe: RetrievalRecipe, pool: Pool, target: str) -> Answered:
        if recipe.use == "backbone":
            return Answered(pool.crossing.bare([target])[target].answers(), 0, {})
        if recipe.use == "own":
            return self._own(recipe, pool, target)
        sources = self.open_to(recipe, target)
        if recipe.use == "multitask":
            if recipe.leave_out == "nothing" and target in sources:
                whole = pool.multitask(sources)
                return Answered(whole.answers()[target], 1, {whole.folder: whole.outcome})
            one, trained_whole = self._multitask(pool, target, sources)
            return Answered(one.answers(), 1, trained_whole)
        trained: dict[Path, Outcome | WholeOutcome] = {one.folder: one.outcome for one in pool.own(sources).values()}
        experts = pool.parcels(sources)
        if recipe.use == "oracle":
            crossed = pool.crossing.cross(experts, [target])[target]
            best = max(crossed, key=lambda name: float(crossed[name].answers().scores().mean()))
            return Answered(cross_fitted(list(crossed.values())), 1, trained, (best,))
        if recipe.use == "per_input":
            crossed = pool.crossing.cross(experts, [target])[target]
            k = min(recipe.k or len(experts), len(experts))
            return Answered(mixed(list(crossed.values()), pool.nearness(target, experts, k)), k, trained)
        ranked = self._ranked(recipe, pool, target, experts, sources)[: recipe.k or len(experts)]
        chosen = tuple(expert.name for expert in ranked) if recipe.by is not None else ()
        if recipe.use == "merge" and len(ranked) > 1:
            ranked = [pool.merged(ranked, f"merge-of-{len(ranked)}")]
        crossed = pool.crossing.cross(ranked, [target])[target]
        first = crossed[ranked[0].name]
        if recipe.use == "mixture":
            return Answered(mixed([crossed[expert.name] for expert in ranked]), len(ranked), trained, chosen)
        if recipe.abstain is not None:
            if recipe.abstain == "multitask":
                other, more = self._multitask(pool, target, sources)
                trained |= more
            else:
                other = pool.crossing.bare([target])[target]
            if first.confidence(other) < recipe.least_confidence:
                first, chosen = other, (recipe.abstain,)
        return Answered(first.answers(), 1, trained, chosen)

    def _multitask(
        self, pool: Pool, target: str, sources: Sequence[str]
    ) -> tuple[Crossed, Mapping[Path, Outcome | WholeOutcome]]:
        """What one expert for all sources answers to a target that it was not trained on."""
        whole = pool.multitask(sources)
        one = pool.beside(whole, f"multitask-{whole.folder.name}")
        return pool.crossing.cross([one], [target])[target][one.name], {whole.folder: whole.outcome}

    @staticmethod
    def _kept(recipe: RetrievalRecipe, targets: int, trained: int) -> int:
        """Experts that are needed to answer: of merges nothing but they."""
        if recipe.use != "merge":
            return trained
        return 1 if recipe.k is None and recipe.leave_out == "nothing" else targets

    def _own(self, recipe: RetrievalRecipe, pool: Pool, target: str) -> Answered:
        """By the target's own expert, or by the best of those of its templates, chosen on rows that are not scored."""
        own = pool.own([target])
        trained = {one.folder: one.outcome for one in own.values()}
        if recipe.per == "task":
            return Answered(own[target].answers(), 1, trained)
        crossed = pool.crossing.cross(pool.parcels([target]), [target])[target]
        best = max(crossed.values(), key=Crossed.dev)
        return Answered(best.answers(), 1, trained)

    def _ranked(
        self, recipe: RetrievalRecipe, pool: Pool, target: str, experts: list[Parcel], sources: Sequence[str]
    ) -> list[Parcel]:
        """The experts in the order of the recipe's selector, or as they are."""
        if recipe.by is None:
            return experts
        settings: dict[str, Any] = {"seed": recipe.seed} if recipe.by == "random" else {}
        selector = SELECTORS.get(recipe.by)(**settings)
        wanted = pool.target(target, experts, sources, selector.reads)
        scores = selector.scores(wanted, pool.candidates(experts, selector.reads))
        places = ranks(scores, [expert.name for expert in experts])
        return [experts[i] for i in np.argsort(places)]

    def _result(self, recipe: RetrievalRecipe, pool: Pool, found: Mapping[str, Answered]) -> RunResult:
        targets, asked = list(found), pool.asked
        method = {"name": "heads_only"} if recipe.use == "backbone" else recipe.method
        model = asked.model({target: target for target in targets}, method, tuned=False)
        backbone, own = model.shared_parameters(), model.parameters_of(targets[0])
        # What several targets use was trained once.
        trained = {folder: one for answered in found.values() for folder, one in answered.trained.items()}
        return RunResult(
            scores={target: float(one.answers.scores().mean()) for target, one in found.items()},
            parameters=backbone + own * self._kept(recipe, len(targets), len(trained)),
            trained_parameters=own * len(trained),
            one_model=backbone + own,
            train_seconds=sum(one.train_seconds for one in trained.values()),
            peak_memory_mb=max((one.peak_memory_mb for one in trained.values()), default=0.0),
            answer_ms=asked.answer_ms(model, targets) * max(one.experts or 1 for one in found.values()),
            steps=sum(one.steps for one in trained.values()),
            chosen_step=sum(one.chosen_step for one in trained.values()),
            ledger=_ledger(trained),
            draws={},
            curve={},
            learned_from={target: one.chosen for target, one in found.items() if one.chosen},
        )


def cross_fitted(experts: Sequence[Crossed]) -> Templated:
    """The best expert on every other row answers the rows between, and the other way round: no row helps to choose
    the expert that answers it."""
    rows = np.arange(len(experts[0].scored_targets))
    answers = [one.answers() for one in experts]
    found = np.zeros_like(answers[0].answers)
    for part in (0, 1):
        mine, others = rows[rows % 2 == part], rows[rows % 2 != part]
        scores = [float(one.scores_on(others[None]).mean()) for one in answers] if len(others) else [0.0]
        found[:, :, mine] = answers[int(np.argmax(scores))].answers[:, :, mine]
    return Templated(answers[0].metric, answers[0].templates, answers[0].targets, found)


def mixed(experts: Sequence[Crossed], weights: np.ndarray | None = None) -> Templated:
    """Each row answered by the mean of the experts' probabilities, or of their numbers.

    weights: K n, of the experts for each row, by default equal. Raises UserError for texts, which have no mean.
    """
    first = experts[0]
    parts = [one.scored for one in experts if one.scored is not None]
    if first.metric not in METRICS:
        raise UserError("texts cannot be averaged", where="use: mixture", fix="select one expert, or merge them")
    share = np.full((len(parts), len(first.scored_targets)), 1 / len(parts)) if weights is None else weights
    chances = [one.chances for one in parts if one.chances is not None]
    if chances:
        answers = np.einsum("en,eknc->knc", share, np.stack(chances)).argmax(axis=-1).astype(np.float64)
    else:
        answers = np.einsum("en,ekn->kn", share, np.stack([one.answers for one in parts]))
    return templated(first.metric, first.scored_targets, answers)


def _ledger(trained: Mapping[Path, Outcome | WholeOutcome]) -> dict[str, dict[str, float]]:
    """By expert, or by task of a multitask expert."""
    found: dict[str, dict[str, float]] = {}
    for folder, one in trained.items():
        if isinstance(one, Outcome):
            found[folder.name] = one.ledger
        else:
            found |= one.ledger
    return found
