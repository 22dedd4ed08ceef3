"""Prompts of all tasks of a suite and how alike they are, all sources to all targets, and one target from a library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from multigraft.errors import UserError, nearest
from multigraft.evaluation.transfer_matrix import NONE, TransferMatrix, write_matrix, write_predicted
from multigraft.library.predictors import PREDICTORS, Known
from multigraft.library.similarity import TENSOR, similarity_matrices
from multigraft.library.store import Library
from multigraft.library.transfer import average_weights, top
from multigraft.strategies.answering import Answering
from multigraft.strategies.experts import Trained
from multigraft.strategies.prompt_library import Stored, stored_prompts
from multigraft.strategies.prompt_recipe import PromptRecipe
from multigraft.strategies.prompt_transfer import PromptTransfer
from multigraft.strategies.prompts import Prompts

Announce = Callable[[str], None]
# What the rows to choose by say of a target's run from a source, when they are first asked, and at its best.
WATCHED: Mapping[str, Callable[[Trained], float]] = {
    "first_dev": lambda run: run.outcome.dev_curve[min(run.outcome.dev_curve)],
    "best_dev": lambda run: run.outcome.dev,
}
CANDIDATES = 7  # sources that `auto` tries beside a prompt from words: eight halve evenly


def own_prompts(recipe: PromptRecipe, folder: Path, *, quiet: bool) -> tuple[Answering, dict[str, Trained]]:
    """The sources of a recipe as they are answered, and their prompts, trained at once and kept in `folder`."""
    way = PromptTransfer(folder)
    way.check(recipe)
    prompts = way.prompts(recipe, quiet=quiet)
    return prompts.answering, prompts.own(way.sources(recipe))


def how_alike(prompts: Mapping[str, Trained]) -> dict[str, np.ndarray]:
    """Similarity of tasks by their embeddings, N x N, by every measure."""
    return similarity_matrices(one.early()[TENSOR].double().numpy() for one in prompts.values())


@dataclass(frozen=True)
class Matrix:
    """A transfer matrix that was trained, and what predictors and `WATCHED` say of its cells: (S, N, M) each."""

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
    none, scores = [], []
    predicted: dict[str, list[np.ndarray]] = {}
    for seed in seeds:
        prompts = way.prompts(recipe.model_copy(update={"seed": seed}), quiet=quiet)
        announce(f"seed {seed}: own prompts of {len(sources) + len(targets)} tasks")
        own = prompts.own([*sources, *targets])
        cells = []
        for target in targets:
            announce(f"seed {seed}: {target} from {len(sources)} sources")
            cells.append(list(prompts.from_sources(target, sources).values()))
        none.append([_score(own[target]) for target in targets])
        scores.append(_table(cells, _score))
        known = prompts.reader.known(own, targets, sources, list(predictors))
        found = {name: _predicted(name, known, targets, sources) for name in predictors}
        found |= {name: _table(cells, look) for name, look in WATCHED.items()}
        for name, one in found.items():
            predicted.setdefault(name, []).append(one)
    matrix = TransferMatrix(tuple(sources), tuple(targets), np.array(scores), np.array(none))
    return Matrix(matrix, {name: np.array(found) for name, found in predicted.items()}, tuple(seeds))


def _predicted(name: str, known: Mapping[str, Known], targets: Sequence[str], sources: Sequence[str]) -> np.ndarray:
    """What a predictor says of every source and target: N M."""
    predictor = PREDICTORS.get(name)()
    return np.array([predictor.scores(known[t], [known[s] for s in sources]) for t in targets]).T


def _table(cells: Sequence[Sequence[Trained]], value: Callable[[Trained], float]) -> np.ndarray:
    """A value of every run, given by target and source: N M."""
    return np.array([[value(cell) for cell in column] for column in cells]).T


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

    answering: Answering
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
    prompts = LibraryPrompts(alone, way.answering(alone), (), way.place(alone), quiet=quiet)
    stored = {name: one for name, one in stored_prompts(library, prompts.answering).items() if name != target}
    if not stored:
        raise UserError(f"holds no prompt but that of {target!r}", where=library.folder, fix="add others")
    prompts.stock(stored)
    k = min(k, len(stored))
    scores = prompts.ranking(target, list(stored), by)
    if use == "auto":
        return _auto(prompts, target, top(scores, min(CANDIDATES, len(stored))))
    best = top(scores, k)
    if use == "mixture":
        _check_mixture(prompts, best, stored)
    expert, tried = prompts.used(target, scores, use, k)
    names = ", ".join(best)
    if use == "best_of":
        devs = {one.name: one.outcome.dev for one in tried if isinstance(one, Trained)}
        return Answer(prompts.answering, expert, f"from {expert.name}, the best of {names}", devs)
    shares = ", ".join(f"{name} {share:.2f}" for name, share in average_weights(scores, k).items())
    reason = f"from the average of {shares}" if use == "average" else f"from a mixture with {names}"
    return Answer(prompts.answering, expert, reason, {})


def _auto(prompts: Prompts, target: str, sources: Sequence[str]) -> Answer:
    chosen, trained = prompts.halving(target, sources, fresh=True)
    first = {one.name: one.outcome.dev for one in trained[: len(sources) + 1]}
    best = max(sources, key=lambda source: first[source])
    gain = first[best] - first[NONE]
    steps = trained[0].outcome.steps
    seen = f"after {steps} steps {best}, the best of {len(sources)} sources, is {gain:+.1f} over a prompt from words"
    if chosen.name == NONE or gain < 0:
        own = prompts.own([target])[target]
        return Answer(prompts.answering, own, f"abstained, a prompt from words: {seen}", first)
    return Answer(prompts.answering, chosen, f"from {chosen.name}: {seen}", first)


def _check_mixture(prompts: Prompts, chosen: Sequence[str], stored: Mapping[str, Stored]) -> None:
    for name in chosen:
        if name not in prompts.answering.tasks:
            fix = nearest(name, prompts.answering.tasks) or "give the suite that has it"
            raise UserError(f"the suite has no task {name!r} to mix with", where=f"expert {name}", fix=fix)
