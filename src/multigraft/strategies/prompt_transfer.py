"""Soft prompt transfer: a prompt per task on a frozen model, started from the prompts of others (arXiv 2110.07904)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from multigraft.errors import UserError, unknown
from multigraft.evaluation.template_statistics import Templated
from multigraft.library.similarity import TENSOR, embeddings, similarities
from multigraft.library.transfer import successive_halving, top
from multigraft.methods.base import parse_method
from multigraft.strategies.answering import TEXT, Answering, HeadAnswering, WordAnswering, answering
from multigraft.strategies.cards import write_experts
from multigraft.strategies.comparison import Comparison, RunRecipe
from multigraft.strategies.expert_strategy import ExpertStrategy
from multigraft.strategies.experts import Trained, finished_experts
from multigraft.strategies.prompt_recipe import MIXTURE, ComparePrompts, PromptRecipe
from multigraft.strategies.prompts import Prompts
from multigraft.strategies.results import TaskMap
from multigraft.strategies.runs import RunResult, finished, keep_result
from multigraft.strategies.whole import Whole

MEASURE = "average_tokens"


@dataclass(frozen=True)
class Answered:
    """How a run answers for one target: what with, which is the first part, and all that was trained on the way; and
    the sources that were chosen."""

    answers: Templated
    parts: list[Trained | Whole]
    sources: tuple[str, ...] = ()


class PromptTransfer(ExpertStrategy):
    """Prompts of all tasks are trained at once; a target's is trained again from those that its row names.

    What is trained is kept under `experts/`, so that rows which use the same prompts share them.
    """

    name: ClassVar[str] = "prompt_transfer"
    recipe: ClassVar[type[RunRecipe]] = PromptRecipe
    comparison: ClassVar[type[Comparison]] = ComparePrompts

    def __init__(self, root: Path, *, alone: bool = False) -> None:
        super().__init__(root, alone=alone)
        self._answering: dict[str, Answering] = {}

    def check(self, recipe: PromptRecipe) -> None:
        targets, sources = self.targets(recipe), self.sources(recipe)
        asked = self.answering(recipe)
        parse_method(recipe.method).check(asked.backbone(), asked.longest())
        transfer = recipe.transfer
        if transfer is None:
            return
        if transfer.source == TEXT and not isinstance(asked, WordAnswering):
            raise UserError(f"{recipe.backbone_name} writes no text to learn from", fix="take another source")
        if transfer.source not in (None, TEXT, MIXTURE, *sources):
            raise unknown("source", str(transfer.source), [*sources, MIXTURE, TEXT], where="transfer.source")
        fewest = min(len(set(sources) - {target}) for target in targets)
        if transfer.k is not None and transfer.k > fewest:
            raise UserError(f"k is {transfer.k}, there are {fewest} sources", where="transfer.k", fix="lower it")
        if transfer.use == "halving":
            successive_halving(transfer.k or len(sources), recipe.training.steps or 0)  # raises for too few steps

    def run(self, recipe: PromptRecipe, folder: Path, *, quiet: bool) -> RunResult:
        done = finished(folder)
        if done is not None:
            return done
        prompts = self.prompts(recipe, quiet=quiet)
        way = _tuned if recipe.tuned else _prompted
        if not recipe.tuned:
            _train_at_once(recipe, prompts, self.targets(recipe))
        found = {target: way(recipe, prompts, target) for target in self.targets(recipe)}
        result = self._result(recipe, found)
        keep_result(folder, result, {target: one.answers for target, one in found.items()})
        return result

    def write_model(self, recipe: PromptRecipe, folder: Path, output: Path) -> None:
        """The prompts that the targets ended with, on the frozen backbone."""
        if recipe.tuned:
            super().write_model(recipe, folder, output)
        prompts = self.prompts(recipe, quiet=True)
        parts = {target: _prompted(recipe, prompts, target).parts[0] for target in self.targets(recipe)}
        write_experts(prompts.answering, {name: one for name, one in parts.items() if isinstance(one, Trained)}, output)

    def task_map(self, recipes: Sequence[PromptRecipe]) -> TaskMap | None:
        """Cosine of average tokens of the prompts of the row that trained most of them, with the first seed."""
        most: dict[str, Trained] = {}
        for recipe in recipes:
            if recipe.method_name == "soft_prompt":
                trained = finished_experts(self.place(recipe) / "own", self.suite(recipe).tasks)
                most = max(most, trained, key=len)
        if len(most) < 2:
            return None
        alike = similarities(embeddings((one.early()[TENSOR].double().numpy() for one in most.values()), MEASURE))
        return TaskMap(
            tasks=tuple(most),
            what="prompts after a tenth of their training, by the cosine of their average tokens",
            similarity=tuple(tuple(row) for row in alike.tolist()),
        )

    def answering(self, recipe: PromptRecipe) -> Answering:
        """The tasks of the recipe on its backbone; those of one seed are kept."""
        key = f"{recipe.experts_key()}/{recipe.seed}/{recipe.targets}/{recipe.sources}"
        if key not in self._answering:
            names = dict.fromkeys([*self.targets(recipe), *self.sources(recipe)])
            self._answering = {key: answering(recipe, [self.suite(recipe).tasks[name] for name in names])}
        return self._answering[key]

    def prompts(self, recipe: PromptRecipe, *, quiet: bool) -> Prompts:
        """What trains and keeps the prompts of a recipe and seed."""
        return Prompts(recipe, self.answering(recipe), self.sources(recipe), self.place(recipe), quiet=quiet)

    def _result(self, recipe: PromptRecipe, found: Mapping[str, Answered]) -> RunResult:
        targets, asked = list(found), self.answering(recipe)
        method = {"name": "heads_only"} if recipe.tuned else recipe.method
        model = asked.model({target: target for target in targets}, method, tuned=recipe.tuned)
        backbone, own = model.shared_parameters(), sum(model.parameters_of(target) for target in targets)
        copies = len(targets) if recipe.tuned else 1  # a tuned backbone answers for one target
        # What several targets use was trained once.
        parts = {part.folder: part.outcome for one in found.values() for part in one.parts}.values()
        return RunResult(
            scores={target: float(one.answers.scores().mean()) for target, one in found.items()},
            parameters=copies * backbone + own,
            trained_parameters=(copies * backbone if recipe.tuned else 0) + own,
            one_model=backbone + model.parameters_of(targets[0]),
            train_seconds=sum(part.train_seconds for part in parts),
            peak_memory_mb=max(part.peak_memory_mb for part in parts),
            answer_ms=asked.answer_ms(model, targets),
            steps=sum(part.steps for part in parts),
            chosen_step=sum(part.chosen_step for part in parts),
            ledger={target: _drawn(target, one.parts[0]) for target, one in found.items()},
            draws={},
            curve={},
            learned_from={target: one.sources for target, one in found.items() if one.sources},
            heads=not recipe.tuned and isinstance(asked, HeadAnswering),
        )


def _train_at_once(recipe: PromptRecipe, prompts: Prompts, targets: Sequence[str]) -> None:
    """The prompts of all targets, and where each starts from single sources, those that start from them."""
    transfer = recipe.transfer
    if transfer is None:
        prompts.own(targets)
    elif transfer.source is not None:
        prompts.all_from({target: [transfer.source] for target in targets if target != transfer.source})
    elif transfer.use == "best_of":
        assert transfer.by is not None
        chosen = {}
        for target in targets:
            others = [source for source in prompts.sources if source != target]
            chosen[target] = top(prompts.ranking(target, others, transfer.by), transfer.k or len(others))
        prompts.all_from(chosen)


def _tuned(recipe: PromptRecipe, prompts: Prompts, target: str) -> Answered:
    """Model tuning, and multitask model tuning (section 3.1): the backbone itself is trained."""
    first = prompts.tuned_mixture() if recipe.multitask else None
    whole = prompts.tuned(target, first=first)
    return Answered(whole.answers()[target], [whole, *([first] if first else [])])


def _prompted(recipe: PromptRecipe, prompts: Prompts, target: str) -> Answered:
    """A prompt from words, from one source, or from what a predictor ranks best (sections 3.1 and 4.2)."""
    transfer, others = recipe.transfer, [source for source in prompts.sources if source != target]
    if transfer is None or transfer.source == target:
        own = prompts.own([target])[target]
        return Answered(own.answers(), [own])
    if transfer.source is not None:
        expert = prompts.from_sources(target, [transfer.source])[transfer.source]
        return Answered(expert.answers(), [expert, _source(prompts, transfer.source)], (transfer.source,))
    assert transfer.by is not None
    k = transfer.k or len(others)
    scores = prompts.ranking(target, others, transfer.by)
    ranked: list[Trained | Whole] = list(prompts.own([target, *others]).values())
    chosen, tried = prompts.used(target, scores, transfer.use, k)
    sources = top(scores, k) if transfer.use in ("average", "mixture") else chosen.outcome.parents
    return Answered(chosen.answers(), [chosen, *tried, *ranked], tuple(sources))


def _drawn(target: str, part: Trained | Whole) -> dict[str, float]:
    """The ledger of a target's rows."""
    return part.outcome.ledger if isinstance(part, Trained) else part.outcome.ledger[target]


def _source(prompts: Prompts, source: str) -> Trained | Whole:
    return prompts.mixed(source) if source in (MIXTURE, TEXT) else prompts.own([source])[source]
