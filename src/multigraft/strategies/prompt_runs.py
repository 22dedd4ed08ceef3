"""Prompts of all tasks of a suite and how alike they are, all sources to all targets, and one target from a library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from multigraft.errors import UserError, nearest
from multigraft.evaluation.transfer_matrix import NONE, TransferMatrix, write_matrix, write_predicted
from multigraft.library.predictors import PREDICTORS
from multigraft.library.similarity import similarity_matrices
from multigraft.library.store import Library
from multigraft.library.transfer import average_weights, best_of, top
from multigraft.strategies.experts import Trained
from multigraft.strategies.known import known_tasks
from multigraft.strategies.prompt_library import Stored, stored_prompts
from multigraft.strategies.prompt_recipe import PromptRecipe
from multigraft.strategies.prompt_transfer import PromptTransfer
from multigraft.strategies.prompts import PROMPT, Prompts

Announce = Callable[[str], None]
CANDIDATES = 7  # sources that `auto` tries beside a prompt from words: eight halve evenly


def own_prompts(recipe: PromptRecipe, folder: Path, *, quiet: bool) -> dict[str, Trained]:
    """The prompts of all sources of a recipe, trained at once and kept in `folder`."""
    way = PromptTransfer(folder)
    way.check(recipe)
    return way.prompts(recipe, quiet=quiet).own(way.sources(recipe))


def how_alike(prompts: Mapping[str, Trained]) -> dict[str, np.ndarray]:
    """Similarity of tasks by their embeddings, N x N, by every measure."""
    return similarity_matrices(one.early()[PROMPT].double().numpy() for one in prompts.values())


@dataclass(frozen=True)
class Matrix:
    """A transfer matrix that was trained, and what predictors say of its cells: (S, N, M) each."""

    matrix: TransferMatrix
    predicted: dict[str, np.ndarray]
    seeds: tuple[int, ...]

    def write(self, folder: Path) -> list[Path]:
        """`matrix.csv`, and `predicted_NAME.csv` for each predictor."""
        write_matrix(folder / "matrix.csv", self.matrix, self.seeds)
        paths = [folder / "matrix.csv"]
        for name, scores in self.predicted.items():
            paths.append(folder / f"predicted_{name}.csv")
            write_predicted(paths[-1], self.matrix, scores, self.seeds)
        return paths


def train_matrix(
    recipe: PromptRecipe, seeds: Sequence[int], predictors: Sequence[str], folder: Path, *, announce: Announce,
    quiet: bool,
) -> Matrix:  # fmt: skip
    """Every target's score from every source and from none, with every seed; what is in `folder` is not repeated.

    Raises UserError for a task that is source and target: started from itself it has had twice the steps.
    """
    way = PromptTransfer(folder)
    targets = way.targets(recipe)
    if recipe.sources is None:
        others = [name for name in way.sources(recipe) if name not in targets]
        recipe = recipe.model_copy(update={"sources": tuple(others)})
    sources = list(recipe.sources or ())
    both = set(sources) & set(targets)
    if both or not sources:
        what = f"{min(both)!r} is source and target" if both else "every task is a target: there is no source"
        raise UserError(what, where="--source, --target", fix="name targets that are no sources")
    way.check(recipe)
    none, scores, predicted = [], [], {name: [] for name in predictors}  # type: ignore[var-annotated]
    for seed in seeds:
        one = recipe.model_copy(update={"seed": seed})
        prompts = way.prompts(one, quiet=quiet)
        announce(f"seed {seed}: own prompts of {len(sources) + len(targets)} tasks")
        own = prompts.own([*sources, *targets])
        none.append([_score(own[target]) for target in targets])
        columns = []
        for target in targets:
            announce(f"seed {seed}: {target} from {len(sources)} sources")
            columns.append([_score(cell) for cell in prompts.from_sources(target, sources).values()])
        scores.append(np.array(columns).T)
        known = known_tasks(prompts.answering, own, targets, sources, list(predictors))
        for name in predictors:
            predictor = PREDICTORS.get(name)()
            found = [predictor.scores(known[t], [known[s] for s in sources]) for t in targets]
            predicted[name].append(np.array(found).T)
    matrix = TransferMatrix(tuple(sources), tuple(targets), np.array(scores), np.array(none))
    return Matrix(matrix, {name: np.array(found) for name, found in predicted.items()}, tuple(seeds))


def _score(expert: Trained) -> float:
    return float(expert.answers().scores().mean())


class LibraryPrompts(Prompts):
    """Prompts for targets whose sources are those of a library."""

    def stock(self, stored: Mapping[str, Stored]) -> None:
        """What the library has."""
        self._stored = dict(stored)

    def own(self, tasks: Sequence[str]) -> dict[str, Trained]:
        found: dict[str, Trained] = {name: self._stored[name] for name in tasks if name in self._stored}  # type: ignore[misc]
        missing = [name for name in tasks if name not in found]
        return found | (super().own(missing) if missing else {})


@dataclass(frozen=True)
class Answer:
    """What a target's prompt was started from, and why."""

    expert: Trained
    reason: str
    tried: dict[str, float]  # dev scores of what was tried, by source


def transfer_to(
    recipe: PromptRecipe, target: str, library: Library, use: str, k: int, by: str, folder: Path, *, quiet: bool
) -> Answer:
    """Train the target's prompt from those of a library. use: best_of, average, mixture or auto.

    `auto` lets the sources that rank best and a prompt from words share the steps of one run by successive halving,
    and abstains from transfer when no source does better. Raises UserError as `stored_prompts`, and for a mixture
    with tasks that the suite lacks.
    """
    way = PromptTransfer(folder)
    way.check(recipe.model_copy(update={"targets": (target,), "sources": (target,)}))
    alone = recipe.model_copy(update={"targets": (target,), "sources": None if use == "mixture" else (target,)})
    place = folder / "experts" / recipe.experts_key() / f"seed-{recipe.seed}"
    prompts = LibraryPrompts(alone, way.answering(alone), (), place, quiet=quiet)
    stored = {name: one for name, one in stored_prompts(library, prompts.answering).items() if name != target}
    if not stored:
        raise UserError(f"holds no prompt but that of {target!r}", where=library.folder, fix="add others")
    prompts.stock(stored)
    k = min(k, len(stored))
    scores = prompts.ranking(target, list(stored), by)
    if use == "auto":
        return _auto(prompts, target, top(scores, min(CANDIDATES, len(stored))))
    if use == "average":
        weights = average_weights(scores, k)
        shares = ", ".join(f"{name} {share:.2f}" for name, share in weights.items())
        expert = prompts.average(target, scores, k)
        return Answer(expert, f"from the average of {shares}", {})
    if use == "mixture":
        _check_mixture(prompts, top(scores, k), stored)
        return Answer(prompts.mixture(target, scores, k)[0], f"from a mixture with {', '.join(top(scores, k))}", {})
    runs = prompts.from_sources(target, top(scores, k))
    tried = {name: one.outcome.dev for name, one in runs.items()}
    best = best_of(scores, k, tried)
    return Answer(runs[best], f"from {best}, the best of {', '.join(runs)}", tried)


def _auto(prompts: Prompts, target: str, sources: Sequence[str]) -> Answer:
    chosen, trained = prompts.halving(target, sources, fresh=True)
    first = {one.name: one.outcome.dev for one in trained[: len(sources) + 1]}
    best = max(sources, key=lambda source: first[source])
    gain = first[best] - first[NONE]
    steps = trained[0].outcome.steps
    seen = f"after {steps} steps {best}, the best of {len(sources)} sources, is {gain:+.1f} over a prompt from words"
    if chosen.name == NONE or gain < 0:
        own = prompts.own([target])[target]
        return Answer(own, f"abstained, a prompt from words: {seen}", first)
    return Answer(chosen, f"from {chosen.name}: {seen}", first)


def _check_mixture(prompts: Prompts, chosen: Sequence[str], stored: Mapping[str, Stored]) -> None:
    for name in chosen:
        if name not in prompts.answering.tasks:
            fix = nearest(name, prompts.answering.tasks) or "give the suite that has it"
            raise UserError(f"the suite has no task {name!r} to mix with", where=f"expert {name}", fix=fix)
