"""The prompts of one recipe and seed, each trained when it is first asked for (arXiv 2110.07904)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from multigraft.evaluation.transfer_matrix import NONE
from multigraft.library.predictors import PREDICTORS
from multigraft.library.similarity import TENSOR
from multigraft.library.transfer import (
    average_weights,
    best_of,
    mixture_members,
    successive_halving,
    top,
    weighted_average,
)
from multigraft.methods.prompt_init import frequent_tokens, from_labels
from multigraft.methods.stack import generator_of
from multigraft.strategies.answering import TEXT, Answering, WordAnswering
from multigraft.strategies.comparison import digest
from multigraft.strategies.experts import Trained, Wanted, finished_experts, train_experts
from multigraft.strategies.known import TaskReader
from multigraft.strategies.prompt_recipe import MIXTURE, PromptRecipe
from multigraft.strategies.whole import Whole, train_whole


class Prompts:
    """Prompts in a folder, for targets started from sources.

    own/TASK                each task's own prompt
    from/TARGET/SOURCE      the target's prompt that was started from the source's
    mixtures/KEY            one prompt for several tasks
    halving/TARGET/ROUND    what a round of successive halving trained
    tuned/TARGET            a tuned backbone; tuned/mixture, and tuned/from_mixture/TARGET
    """

    def __init__(
        self, recipe: PromptRecipe, answering: Answering, sources: Sequence[str], place: Path, *, quiet: bool
    ) -> None:
        self.recipe, self.answering, self.sources = recipe, answering, tuple(sources)
        self.place, self.quiet = place, quiet
        self.reader = TaskReader(answering)
        self._rankings: dict[tuple[str, tuple[str, ...], str], dict[str, float]] = {}

    def own(self, tasks: Sequence[str]) -> dict[str, Trained]:
        """The prompts of tasks, started from words; all that are missing are trained at once."""
        done = self.trained()
        wanted = [
            Wanted(task, task, self.recipe.training_for(task), None if task in done else self._words(task))
            for task in dict.fromkeys(tasks)
        ]
        return self._train(wanted, "own", "own prompts")

    def _words(self, task: str) -> dict[str, Tensor] | None:
        """What a task's prompt starts from, where the recipe says more than the method."""
        if self.recipe.start == "method":
            return None
        backbone, length = self.answering.backbone(), int(self.recipe.method["length"])
        texts = (" ".join(row.inputs) for row in self.answering.split(task).train)
        tokens = frequent_tokens(backbone, texts)
        generator = generator_of(self.recipe.seed, task)
        labels = self.answering.labels(task) if self.recipe.start == "labels" else ()
        return {TENSOR: from_labels(backbone, labels, length, generator, tokens)}

    def trained(self) -> dict[str, Trained]:
        """The tasks' own prompts that there are, in the suite's order."""
        return finished_experts(self.place / "own", self.answering.tasks)

    def all_from(self, chosen: Mapping[str, Sequence[str]]) -> None:
        """Train what `from_sources` gives for several targets, by the sources of each, all at once."""
        self.own([name for names in chosen.values() for name in names if name not in (MIXTURE, TEXT)])
        wanted = [
            Wanted(f"{target}/{name}", target, self.recipe.training_for(target), start, (name,))
            for target, names in chosen.items()
            for name, start in self._starts(names).items()
        ]
        self._train(wanted, "from", "transfer")

    def from_sources(self, target: str, sources: Sequence[str]) -> dict[str, Trained]:
        """The target's prompts started from those of the sources: tasks, 'mixture' of all, or 'text'."""
        return self._from(target, self._starts(sources))

    def _starts(self, sources: Sequence[str]) -> dict[str, dict[str, Tensor]]:
        tasks = [source for source in sources if source not in (MIXTURE, TEXT)]
        starts = {name: expert.module() for name, expert in self.own(tasks).items()}
        return starts | {name: self.mixed(name).shared() for name in sources if name in (MIXTURE, TEXT)}

    def _from(self, target: str, starts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Trained]:
        training = self.recipe.training_for(target)
        wanted = [Wanted(name, target, training, start, (name,)) for name, start in starts.items()]
        return self._train(wanted, f"from/{target}", f"to {target}")

    def _train(self, wanted: Sequence[Wanted], folder: str, label: str) -> dict[str, Trained]:
        return train_experts(
            self.answering, wanted, self.recipe.method, self.place / folder, label=label, quiet=self.quiet,
            bank_size=self.recipe.bank_size,
        )  # fmt: skip

    def mixed(self, kind: str, tasks: Sequence[str] | None = None) -> Whole:
        """One prompt for the mixture of tasks, by default all sources; or for their texts without labels."""
        names = list(self.sources if tasks is None else tasks)
        training = self.recipe.training
        if kind == TEXT:
            assert isinstance(self.answering, WordAnswering)
            self.answering.add_text(names)
            training = training.model_copy(update={"choose": "last"})
        return train_whole(
            self.answering, [TEXT] if kind == TEXT else names, self.recipe.method, training,
            self.recipe.parsed_schedule(), self.place / "mixtures" / digest([kind, names]), tuned=False, scored=False,
            label=kind, quiet=self.quiet,
        )  # fmt: skip

    def ranking(self, target: str, sources: Sequence[str], by: str) -> dict[str, float]:
        """What a predictor says of the sources: the higher, the better for the target. It is asked once."""
        key = target, tuple(sources), by
        if key not in self._rankings:
            prompts = self.own([target, *sources])
            known = self.reader.known(prompts, [target], sources, [by])
            scores = PREDICTORS.get(by)().scores(known[target], [known[source] for source in sources])
            self._rankings[key] = dict(zip(sources, scores.tolist(), strict=True))
        return self._rankings[key]

    def used(self, target: str, scores: Mapping[str, float], use: str, k: int) -> tuple[Trained, list[Trained | Whole]]:
        """The target's prompt from the k sources that rank best; and what was trained on the way to it."""
        if use == "average":
            return self.average(target, scores, k), []
        if use == "mixture":
            mixed, whole = self.mixture(target, scores, k)
            return mixed, [whole]
        if use == "halving":
            last, tried = self.halving(target, top(scores, k))
            return last, [*tried]
        runs = self.from_sources(target, top(scores, k))
        return runs[best_of(scores, k, {name: one.outcome.dev for name, one in runs.items()})], [*runs.values()]

    def average(self, target: str, scores: Mapping[str, float], k: int) -> Trained:
        """The target's prompt started from the weighted average of the k best sources'."""
        weights = average_weights(scores, k)
        prompts = {name: one.module()[TENSOR].double().numpy() for name, one in self.own(list(weights)).items()}
        start = {TENSOR: torch.from_numpy(weighted_average(prompts, weights)).float()}
        name = f"average-{digest(weights)}"
        return self._from(target, {name: start})[name]

    def mixture(self, target: str, scores: Mapping[str, float], k: int) -> tuple[Trained, Whole]:
        """The target's prompt started from one for the mixture of the k best sources and the target; and that one."""
        members = mixture_members(scores, k, target)
        whole = self.mixed(MIXTURE, members)
        name = f"mixture-{digest(members)}"
        return self._from(target, {name: whole.shared()})[name], whole

    def halving(self, target: str, sources: Sequence[str], *, fresh: bool = False) -> tuple[Trained, list[Trained]]:
        """The best of the sources by successive halving, within the steps of one run; and all that it trained.

        fresh: a prompt that starts from words, called 'none', takes part.
        """
        whole = self.recipe.training_for(target)
        left: dict[str, Mapping[str, Tensor] | None] = {NONE: self._words(target)} if fresh else {}
        left |= {name: expert.module() for name, expert in self.own(sources).items()}
        trained: list[Trained] = []
        for number, part in enumerate(successive_halving(len(left), whole.steps or 0), 1):
            epochs = min(whole.epochs, part.steps)
            training = whole.model_copy(update={"steps": part.steps, "epochs": epochs, "choose": "last"})
            wanted = [Wanted(name, target, training, start, (name,)) for name, start in left.items()]
            place = f"halving/{target}/{digest([sorted(sources), fresh])}/{number}"
            found = self._train(wanted, place, f"to {target}, round {number}")
            trained += found.values()
            kept = top({name: one.outcome.dev for name, one in found.items()}, -(-len(found) // 2))
            left = {name: found[name].best() for name in kept}
        return trained[-1], trained

    def tuned(self, target: str, *, first: Whole | None) -> Whole:
        """The backbone tuned for a target, from what it was, or from a model that was tuned before."""
        folder = "tuned/from_mixture" if first else "tuned"
        return self._tune([target], f"{folder}/{target}", first)

    def tuned_mixture(self) -> Whole:
        """The backbone tuned on the mixture of the sources."""
        return self._tune(self.sources, f"tuned/mixture-{digest(list(self.sources))}", None, scored=False)

    def _tune(self, tasks: Sequence[str], folder: str, first: Whole | None, *, scored: bool = True) -> Whole:
        return train_whole(
            self.answering, tasks, {"name": "heads_only"}, self.recipe.training, self.recipe.parsed_schedule(),
            self.place / folder, tuned=True, scored=scored, start=first.shared() if first else None,
            label=" ".join(folder.split("/")), quiet=self.quiet,
        )  # fmt: skip
