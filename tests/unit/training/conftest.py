"""Runs of the loop on models in memory: no files but the run's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.tiny import tiny_backbone
from multigraft.batching.encode import Encoded, encode
from multigraft.library.model_folder import build_model
from multigraft.methods.heads import PoolerKind
from multigraft.methods.joint import JointModel
from multigraft.mixing.ledger import Ledger
from multigraft.mixing.sampler import Sampler
from multigraft.mixing.schedule import parse
from multigraft.tasks.suite import load_suite
from multigraft.tasks.task import Task
from multigraft.training.checkpoint import trained_tensors
from multigraft.training.loop import Hooks, Progress, train
from multigraft.training.monitor import Monitor
from multigraft.training.objective import HeadObjective
from multigraft.training.settings import TrainingSettings


@pytest.fixture(scope="session")
def tasks(tiny_suite: str) -> dict[str, Task]:
    """The tasks of the tiny suite that an encoder can answer, one of each kind."""
    return load_suite(tiny_suite).subset(("feeling", "amount", "pick")).tasks


@pytest.fixture(scope="session")
def rows(tasks: Mapping[str, Task]) -> dict[str, Encoded]:
    """Their training rows as token ids."""
    tokenizer = tiny_backbone().tokenizer
    return {name: encode(task, task.examples("train"), tokenizer, 40) for name, task in tasks.items()}


@pytest.fixture
def make_model(tasks: Mapping[str, Task]) -> Callable[..., JointModel]:
    """A maker of joint models on a tiny BERT, always the same for the same arguments."""

    def make(
        names: Sequence[str] = ("feeling", "amount", "pick"),
        method: Any = "low_rank",
        *,
        tuned: bool = True,
        pooler: PoolerKind | None = None,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> JointModel:
        backbone: Backbone = tiny_backbone(dropout=dropout)
        kind = pooler or ("shared" if tuned else "per_task")
        chosen = [tasks[name] for name in names]
        return build_model(backbone, chosen, method, pooling="first", pooler=kind, tuned=tuned, seed=seed)

    return make


@dataclass
class Run:
    """One run of the loop, and what it asked of its caller."""

    model: JointModel
    rows: Mapping[str, Encoded]
    folder: Path
    settings: TrainingSettings
    seed: int = 0
    dev: Sequence[float] = ()  # dev averages to pretend, one per scoring; empty: 0
    stop_after: int | None = None  # Ctrl-C after this step
    scored: list[int] = field(default_factory=list)  # steps at which the model was scored
    kept: list[int] = field(default_factory=list)

    def go(self) -> Progress:
        """Train."""
        sizes = {name: len(self.rows[name]) for name in self.model.names}
        steps = self.settings.steps_for(sum(sizes.values()), len(sizes))
        self.sampler = Sampler(
            sizes, {name: self.rows[name].lengths.tolist() for name in sizes}, parse("proportional"),
            batch_size=self.settings.batch_size, steps=steps, epochs=self.settings.epochs,
            mode=self.settings.batches, seed=self.seed,
        )  # fmt: skip
        self.ledger = Ledger(sizes, self.sampler.planned())
        with Monitor(self.folder, "run", quiet=True, every=3) as self.monitor:
            if self.stop_after is not None:
                self._interrupt(self.monitor, self.stop_after)
            objective = HeadObjective([self.rows[name] for name in sizes], self.model.backbone.pad_id)
            return train(
                self.model, objective, self.sampler, self.ledger, self.settings,
                Hooks(self._evaluate, self._keep), self.monitor, self.folder, self.seed,
            )  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        """What was trained."""
        return trained_tensors(self.model)

    def _evaluate(self) -> dict[str, float]:
        self.scored.append(self.sampler.step)
        value = self.dev[len(self.scored) - 1] if self.dev else 0.0
        return dict.fromkeys(self.model.names, value)

    def _keep(self, scores: Mapping[str, float]) -> None:
        self.kept.append(self.sampler.step)

    @staticmethod
    def _interrupt(monitor: Monitor, step: int) -> None:
        whole = monitor.on_step

        def on_step(now: int, loss: float, factor: float) -> None:
            whole(now, loss, factor)
            if now == step:
                raise KeyboardInterrupt

        monitor.on_step = on_step  # type: ignore[method-assign]


@pytest.fixture
def make_run(make_model: Callable[..., JointModel], rows: Mapping[str, Encoded], tmp_path: Path) -> Callable[..., Run]:
    """A maker of runs: `model` are the arguments of `make_model`, the others go to `Run` and to the settings."""

    def make(place: str = "run", model: Mapping[str, Any] | None = None, seed: int = 0, **values: Any) -> Run:
        own = {key: values.pop(key) for key in ("dev", "stop_after") if key in values}
        settings = {"steps": 9, "epochs": 3, "batch_size": 4, "precision": "fp32", "checkpoint_seconds": 0,
                    "learning_rate": 1e-3, "module_learning_rate": 1e-2}  # fmt: skip
        made = make_model(**{"seed": seed, **(model or {})})
        return Run(made, rows, tmp_path / place, TrainingSettings(**(settings | values)), seed, **own)

    return make


@pytest.fixture
def assert_same() -> Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], None]:
    """Named tensors are equal bit for bit."""

    def check(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            assert torch.equal(found[name], tensor), name

    return check
