"""What every expert answers on every target, each pair asked once: selectors, oracles and mixtures read it.

FOLDER/TARGET/EXPERT-DIGEST.safetensors     the answers of one expert to one target
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from accelerate import Accelerator
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.errors import UserError
from multigraft.evaluation.template_statistics import Templated
from multigraft.evaluation.templated import targets_of
from multigraft.files import write_bytes
from multigraft.library.load import bank_of, joint_of
from multigraft.library.parcel import Parcel
from multigraft.methods.bank import Bank
from multigraft.methods.base import parse_method
from multigraft.methods.heads import Heads
from multigraft.methods.joint import JointModel
from multigraft.methods.text_model import TextModel
from multigraft.strategies.answering import Answering, HeadAnswering, WordAnswering
from multigraft.strategies.expert_answers import Answers, by_heads, in_words
from multigraft.tasks.task import Example, sample

FEW = 32  # labelled rows of a target, of its training split; without their labels, its queries
BARE = "none"  # the backbone without any expert


@dataclass(frozen=True)
class Crossed:
    """What one expert answers to one target: to `few` rows that are never scored, and to the scored ones if asked."""

    metric: str
    few: Answers
    few_targets: np.ndarray
    scored: Answers | None
    scored_targets: np.ndarray

    def dev(self) -> float:
        """Score on the few rows, mean over the templates, in per cent."""
        return float(templated(self.metric, self.few_targets, self.few.answers).scores().mean())

    def confidence(self, other: Crossed) -> float:
        """Share of the few rows whose right answer is more likely here than with the other; equal ones count half."""
        return float(np.mean((np.sign(other.few.losses - self.few.losses) + 1) / 2))

    def answers(self) -> Templated:
        """The answers to the scored rows, which were asked."""
        assert self.scored is not None
        return templated(self.metric, self.scored_targets, self.scored.answers)


class Crossing:
    """Experts and targets on one backbone.

    A text-to-text model is asked in every template of the recipe that asks for the answer. On an encoder, an expert
    answers by its own head where the target has the same options, or both answer with a number or with options of the
    row; for other targets a linear probe of its features is trained on the few rows, on which it is scored out of
    fold. The backbone itself, called 'none', has probes only.
    """

    def __init__(self, answering: Answering, folder: Path) -> None:
        self.answering, self.folder = answering, folder
        self._known: dict[Path, Crossed] = {}

    def cross(
        self, experts: Sequence[Parcel], targets: Sequence[str], *, scored: bool = True
    ) -> dict[str, dict[str, Crossed]]:
        """By target and expert. What is in the folder is read, and the rest is computed, all experts at once.

        scored: ask the scored rows too. Raises UserError for experts of another backbone, and for a target without
        rows to choose by.
        """
        digests = {expert.name: _digest(expert.tensors) for expert in experts}
        paths = {
            (target, expert.name): self.folder / target / f"{expert.name}-{digests[expert.name]}.safetensors"
            for target in targets
            for expert in experts
        }
        missing = {
            target: [expert for expert in experts if not self._has(paths[target, expert.name], target, scored)]
            for target in targets
        }
        needed = {expert.name: expert for lacking in missing.values() for expert in lacking}
        model = self.model(list(needed.values())) if needed else None
        for target, lacking in missing.items():
            if model is not None and lacking:
                self._fill(model, lacking, target, paths, scored)
        return {target: {expert.name: self._known[paths[target, expert.name]] for expert in experts}
                for target in targets}  # fmt: skip

    def bare(self, targets: Sequence[str]) -> dict[str, Crossed]:
        """What the backbone answers without an expert."""
        found = self.cross([Parcel(BARE, {}, None)], targets)  # type: ignore[arg-type]
        return {target: by_expert[BARE] for target, by_expert in found.items()}

    def few(self, target: str) -> list[Example]:
        """Rows of the target that are not scored. Raises UserError when there are none."""
        rows = sample(self.answering.split(target).dev, FEW)
        if not rows:
            raise UserError("no rows to choose by", where=f"task {target}", fix="give it more training rows")
        return rows

    def _has(self, path: Path, target: str, scored: bool) -> bool:
        if path not in self._known and path.exists():
            self._known[path] = self._crossed(target, safetensors.numpy.load_file(path))
        return path in self._known and not (scored and self._known[path].scored is None)

    def _fill(
        self, model: JointModel | TextModel, experts: Sequence[Parcel], target: str,
        paths: Mapping[tuple[str, str], Path], scored: bool,
    ) -> None:  # fmt: skip
        rows = [self.few(target), self.answering.scored(target)][: 1 + scored]
        if isinstance(self.answering, WordAnswering):
            assert isinstance(model, TextModel)
            found = in_words(self.answering, model, experts, target, rows)
        else:
            assert isinstance(model, JointModel)
            assert isinstance(self.answering, HeadAnswering)
            found = by_heads(self.answering, model, experts, target, rows)
        for expert, parts in zip(experts, found, strict=True):
            arrays = {
                f"{part}.{name}": np.ascontiguousarray(value)
                for part, one in zip(("few", "scored"), parts)
                for name, value in one._asdict().items()
                if value is not None
            }
            path = paths[target, expert.name]
            if Accelerator().is_main_process:
                write_bytes(path, safetensors.numpy.save(arrays))
            self._known[path] = self._crossed(target, arrays)

    def _crossed(self, target: str, arrays: Mapping[str, np.ndarray]) -> Crossed:
        few, scored = (
            Answers(**{name: arrays.get(f"{part}.{name}") for name in Answers._fields})  # type: ignore[arg-type]
            for part in ("few", "scored")
        )
        return Crossed(
            metric=self.answering.tasks[target].metric,
            few=few,
            few_targets=targets_of(self.few(target)),
            scored=scored if scored.answers is not None else None,
            scored_targets=targets_of(self.answering.scored(target)),
        )

    def model(self, experts: Sequence[Parcel]) -> JointModel | TextModel:
        """All experts in one bank; of 'none' alone, the backbone. Raises UserError as `cross`."""
        backbone, pooling = self.answering.backbone(), self.answering.recipe.backbone.pooling
        bare = [expert.name for expert in experts] == [BARE]
        model: JointModel | TextModel
        if isinstance(self.answering, WordAnswering):
            bank = _nothing(backbone) if bare else bank_of(experts, backbone)
            model = TextModel(backbone, bank, tuned=False)
        elif bare:
            heads = Heads(backbone, {BARE: 1}, pooler="none")
            model = JointModel(backbone, _nothing(backbone), heads, pooling=pooling, tuned=False)
        else:
            model = joint_of(experts, backbone, pooling)
        return model.to(Accelerator().device).eval()


def _nothing(backbone: Backbone) -> Bank:
    return Bank(parse_method("heads_only"), backbone, [BARE])


def templated(metric: str, targets: np.ndarray, answers: np.ndarray) -> Templated:
    """Answers K n, or K n W, of one seed; a single wording has no name, as where a head answers."""
    names = tuple(str(k) for k in range(len(answers))) if len(answers) > 1 else ("",)
    return Templated(metric, names, targets, answers[None])


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Ten letters that stand for the values of tensors."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:10]
