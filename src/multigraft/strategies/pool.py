"""The experts of one recipe and seed, and what they answer; each is trained when it is first asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from multigraft.library.load import early_of
from multigraft.library.merging.experts import merge_experts
from multigraft.library.merging.uniform import Uniform
from multigraft.library.parcel import Parcel
from multigraft.library.retrieval.embedder import Embedder
from multigraft.library.retrieval.keys import KEYS
from multigraft.library.retrieval.selectors import Candidate, KnownTask, Target
from multigraft.library.retrieval.text_formats import KeyText
from multigraft.library.similarity import TENSOR
from multigraft.mixing.schedule import parse
from multigraft.strategies.answering import Answering, answering
from multigraft.strategies.cards import parcels
from multigraft.strategies.comparison import digest
from multigraft.strategies.crossing import FEW, Crossing
from multigraft.strategies.experts import EARLY, Trained, Wanted, train_experts
from multigraft.strategies.retrieval_recipe import RetrievalRecipe
from multigraft.strategies.whole import Whole, train_whole
from multigraft.tasks.task import Example, Task, sample

TEMPERATURE = 0.1  # of similarities that weigh the experts of an input


class Pool:
    """Experts in a folder, for targets that may use some of them.

    own/QUESTION          an expert of a task, or of a template of one
    few/QUESTION          one of few examples, which says where a target's weights would go
    multitask/KEY         one expert for several tasks
    crossed/TARGET/…      what experts answer
    """

    def __init__(self, recipe: RetrievalRecipe, tasks: Sequence[Task], place: Path, *, quiet: bool) -> None:
        self.recipe, self.place, self.quiet = recipe, place, quiet
        self.asked = answering(recipe, tasks)
        self.learnt = answering(recipe, tasks, by_template=True) if recipe.per == "template" else self.asked
        self.crossing = Crossing(self.asked, place / "crossed")
        self._parcels: dict[str, Parcel] = {}
        self._vectors: dict[tuple[str, ...], np.ndarray] = {}

    def questions(self, tasks: Sequence[str]) -> list[str]:
        """Names of the experts of tasks."""
        return [name for name, question in self.learnt.questions.items() if question.task.name in tasks]

    def own(self, tasks: Sequence[str]) -> dict[str, Trained]:
        """The experts of tasks, by name; all that are missing are trained at once."""
        return self._train(self.learnt, self.questions(tasks), self.place / "own", "experts")

    def parcels(self, tasks: Sequence[str]) -> list[Parcel]:
        """The experts of tasks as a library takes them."""
        trained = self.own(tasks)
        missing = {name: one for name, one in trained.items() if name not in self._parcels}
        if missing:
            self._parcels |= {parcel.name: parcel for parcel in parcels(self.learnt, missing)}
        return [self._parcels[name] for name in trained]

    def multitask(self, tasks: Sequence[str]) -> Whole:
        """One expert for all of the tasks, with as many rows in all as one expert for each of them."""
        training = self.recipe.training
        length = {"steps": training.steps * len(tasks)} if training.steps else {}
        scored = self.recipe.leave_out == "nothing"
        return train_whole(
            self.asked, tasks, self.recipe.method, training.model_copy(update=length),
            parse("proportional", "schedule"), self.place / "multitask" / digest([list(tasks), scored]), tuned=False,
            scored=scored, label="multitask expert", quiet=self.quiet,
        )  # fmt: skip

    def beside(self, whole: Whole, name: str) -> Parcel:
        """A multitask expert as others are. On an encoder it comes without heads, and answers new tasks by probes."""
        like = self.parcels(whole.outcome.tasks[:1])[0].card
        return Parcel(
            name, whole.shared(), like.model_copy(update={"task": " + ".join(whole.outcome.tasks), "head": None})
        )

    def merged(self, experts: Sequence[Parcel], name: str) -> Parcel:
        """The uniform merge of experts; their heads are merged too where all have the same options."""
        heads = {expert.card.head.output.model_dump_json() if expert.card.head else "" for expert in experts}
        return merge_experts(Uniform(), experts, name, heads=len(heads) == 1).parcel

    def target(self, task: str, experts: Sequence[Parcel], known: Sequence[str], reads: frozenset[str]) -> Target:
        """What selectors read of a target; `known` are tasks on which every expert is scored.

        Texts and everything under an expert are those of the few rows, the vector that of an expert trained on as many
        rows of the training split for a tenth of the run.
        """
        found: dict[str, object] = {}
        if reads & {"probabilities", "losses", "likelihoods"}:
            by_expert = self.crossing.cross(experts, [task], scored=False)[task]
            found["losses"] = {name: one.few.losses.ravel() for name, one in by_expert.items()}
            for what, field in (("probabilities", "chances"), ("likelihoods", "likelihoods")):
                arrays = {name: getattr(one.few, field) for name, one in by_expert.items()}
                flat = {
                    name: array.reshape(-1, *array.shape[2:]) for name, array in arrays.items() if array is not None
                }
                found[what] = flat
        if "texts" in reads:
            found["texts"] = self.embedded(self.crossing.few(task))
        if "tasks" in reads:
            scores = self.crossing.cross(experts, known, scored=False)
            found["tasks"] = [
                KnownTask(
                    name,
                    self.embedded(self.crossing.few(name)) if "texts" in reads else None,
                    {expert: one.dev() for expert, one in scores[name].items()},
                )
                for name in known
            ]
        if "vector" in reads:
            found["vector"] = early_vector(self._few([task])[task].early())
        return Target(task, **found)  # type: ignore[arg-type]

    def candidates(self, experts: Sequence[Parcel], reads: frozenset[str]) -> list[Candidate]:
        """What selectors read of experts: keys of the rows that they were trained on, and their early weights."""
        return [
            Candidate(
                expert.name,
                keys=self.keys(expert.name) if "keys" in reads else None,
                vector=early_vector(early_of(expert.tensors)) if "vector" in reads else None,
            )
            for expert in experts
        ]

    def nearness(self, task: str, experts: Sequence[Parcel], k: int) -> np.ndarray:
        """Weights of N experts for each of n scored rows, N n: softmax over the k whose nearest keys are most similar.

        After arXiv 2402.09997 (LoraRetriever), which retrieves for each input and mixes what the k experts give.
        """
        texts = self.embedded(self.asked.scored(task))
        near = np.stack([(texts @ self.keys(expert.name).T).max(axis=1) for expert in experts])
        left_out = np.argsort(np.argsort(-near, axis=0, kind="stable"), axis=0) >= k
        return softmax(np.where(left_out, -np.inf, near / TEMPERATURE), axis=0)

    def keys(self, name: str) -> np.ndarray:
        """Vectors of the texts that an expert was trained on, S D."""
        return self.embedded(sample(self.learnt.split(name).train, KEYS))

    def embedded(self, rows: Sequence[Example]) -> np.ndarray:
        """Vectors of the texts of n rows, n D, as an index has them by default."""
        texts = tuple(KeyText().render(row, [""] * len(row.inputs)) for row in rows)
        if texts not in self._vectors:
            self._vectors[texts] = self.embedder.encode(texts)
        return self._vectors[texts]

    @cached_property
    def embedder(self) -> Embedder:
        return Embedder()

    def _few(self, tasks: Sequence[str]) -> dict[str, Trained]:
        """Experts of few examples, for a tenth of the run."""
        whole = self.recipe.training
        steps = max(1, round(EARLY * whole.steps_for(len(self.asked.split(tasks[0]).train), 1)))
        training = whole.model_copy(update={"steps": steps, "passes": None, "epochs": 1, "choose": "last"})
        few = answering(self.recipe.model_copy(update={"examples": FEW}), [self.asked.tasks[name] for name in tasks])
        return train_experts(
            few, [Wanted(name, name, training) for name in tasks], self.recipe.method, self.place / "few",
            label="few examples", quiet=self.quiet,
        )  # fmt: skip

    def _train(self, learnt: Answering, names: Sequence[str], folder: Path, label: str) -> dict[str, Trained]:
        wanted = [Wanted(name, name, self.recipe.training_for(learnt.questions[name].task.name)) for name in names]
        return train_experts(
            learnt, wanted, self.recipe.method, folder, label=label, quiet=self.quiet, bank_size=self.recipe.bank_size,
        )  # fmt: skip


def early_vector(tensors: Mapping[str, Tensor]) -> np.ndarray:
    """The average token of a prompt, or all weights of a module one after the other: (V,)."""
    if TENSOR in tensors:
        return tensors[TENSOR].float().mean(dim=0).numpy()
    return torch.cat([tensors[key].float().flatten() for key in sorted(tensors)]).numpy()
