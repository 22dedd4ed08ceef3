"""Experts of a suite in a library, and a library that grows with a proof that nothing else in it moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from multigraft.library.parcel import Parcel, add_all
from multigraft.library.retrieval.index import Index
from multigraft.library.retrieval.keys import keys_card
from multigraft.library.retrieval.text_formats import KeyText
from multigraft.library.retrieval.votes import Votes
from multigraft.library.store import Expert, Library, check_free
from multigraft.settings import Record
from multigraft.strategies.expert_retrieval import ExpertRetrieval
from multigraft.strategies.experts import Trained
from multigraft.strategies.pool import Pool
from multigraft.strategies.retrieval_recipe import RetrievalRecipe


class Grown(Record):
    """What an addition did to a library."""

    added: str
    dev: float  # of the new expert, in per cent
    others: int  # experts that were there before
    changed_bytes: tuple[str, ...]  # of these, those whose files are no longer what they were
    changed_answers: tuple[str, ...]  # and those that answer a scored row of their task in another way
    rerouted: dict[str, tuple[str, str]]  # tasks that chose one expert before, and another one now


def own_experts(
    recipe: RetrievalRecipe, folder: Path, *, quiet: bool, into: Path | None = None
) -> tuple[Pool, dict[str, Trained]]:
    """The experts of all sources of a recipe, trained at once and kept in `folder`.

    Raises UserError, before anything is trained, when a library that they are to go `into` has such names already.
    """
    way = ExpertRetrieval(folder)
    sources = tuple(way.sources(recipe))
    one = recipe.model_copy(update={"sources": sources, "targets": sources})
    way.check(one)
    pool = way.pool(one, quiet=quiet)
    if into is not None:
        check_free(into, pool.questions(sources))
    return pool, pool.own(sources)


def fill(pool: Pool, names: Sequence[str], folder: Path, *, replace: bool = False) -> list[Expert]:
    """Put trained experts with their key vectors into a library. Raises UserError for names that are taken."""
    made = keys_card(pool.embedder, KeyText())
    tasks = list(dict.fromkeys(pool.learnt.questions[name].task.name for name in names))
    found = [
        Parcel(one.name, one.tensors, one.card.model_copy(update={"retrieval": made}), pool.keys(one.name))
        for one in pool.parcels(tasks)
        if one.name in names
    ]
    return add_all(Library.create(folder, exist_ok=True), found, replace=replace)


def grow(recipe: RetrievalRecipe, tasks: Sequence[str], library: Path, folder: Path, *, quiet: bool) -> Iterator[Grown]:
    """Add an expert for each of the tasks, one after the other; those that are there already are passed over.

    What can be compared is the experts whose task the recipe's suite has. Raises UserError as `own_experts`.
    """
    shelf, suite = Library.create(library, exist_ok=True), ExpertRetrieval(folder).suite(recipe)
    for task in tasks:
        if task in shelf.names():
            continue
        known = [name for name in shelf.names() if shelf.get(name).card.task in suite.tasks]
        own = tuple(dict.fromkeys(shelf.get(name).card.task for name in known))
        before = _state(recipe, shelf, known, own, folder)
        pool, trained = own_experts(recipe.model_copy(update={"sources": (task,)}), folder, quiet=quiet)
        fill(pool, [task], library)
        after = _state(recipe, shelf, known, own, folder)
        yield Grown(
            added=task,
            dev=trained[task].outcome.dev,
            others=len(known),
            changed_bytes=tuple(name for name in known if before.files[name] != after.files[name]),
            changed_answers=tuple(
                name for name, mine in before.answers.items() if not np.array_equal(mine, after.answers[name])
            ),
            rerouted={
                name: (chosen, after.routes[name])
                for name, chosen in before.routes.items()
                if chosen != after.routes[name]
            },
        )


@dataclass(frozen=True)
class _State:
    """What of a library must not move, and which expert each task is routed to."""

    files: dict[str, tuple[str, str, str]]
    answers: dict[str, np.ndarray]
    routes: dict[str, str]


def _state(
    recipe: RetrievalRecipe, library: Library, known: Sequence[str], tasks: Sequence[str], folder: Path
) -> _State:
    if not known:
        return _State({}, {}, {})
    one = recipe.model_copy(update={"sources": tuple(tasks), "targets": tuple(tasks)})
    pool = ExpertRetrieval(folder).pool(one)
    # All experts of the method in one bank, a new one among them: as they answer in use.
    experts = {expert.name: expert for expert in library.list(method=str(recipe.method["name"]))}
    parcels = [Parcel(name, expert.tensors(), expert.card) for name, expert in experts.items()]
    model = pool.crossing.model(parcels)
    answers = {
        name: pool.asked.answers(model, model.names.index(name), experts[name].card.task).answers
        for name in known
        if name in experts
    }
    index, routes = Index.of(library), {}
    for task in tasks:
        votes = Votes()
        votes.add(index.search(pool.embedded(pool.crossing.few(task))))
        routes[task] = votes.ranking()[0].expert
    files = {name: (expert.weights, expert.keys or "", expert.card.model_dump_json())
             for name in known for expert in [library.get(name)]}  # fmt: skip
    return _State(files, answers, routes)
