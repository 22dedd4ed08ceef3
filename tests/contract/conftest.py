"""Every method, found by itself, on every encoder family: what the contract tests have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.tiny import TINY_FAMILIES, tiny_backbone
from multigraft.batching.collate import collate
from multigraft.batching.encode import Encoded, encode
from multigraft.methods.bank import Bank, mixed_experts
from multigraft.methods.base import METHODS, Method, parse_method
from multigraft.methods.heads import Heads, PoolerKind, Pooling
from multigraft.methods.joint import JointModel
from multigraft.tasks.outputs import Choice, Example, Number
from multigraft.tasks.task import Task
from multigraft.training.objective import row_losses, row_weights
from multigraft.training.optimizers import Optimizers
from multigraft.training.settings import TrainingSettings

# Settings with which a method is tried besides its defaults. A method without an entry is tried with those only.
VARIANTS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "adapter": (
        {"form": "released"},
        {"sublayers": "attention", "activation": "identity", "layers": "final_half"},
        {"sublayers": "ffn", "width": 5},
        {"sublayers": "ffn", "form": "released"},
    ),
    "bitfit": ({"layers": [1]},),
    "ffn": ({"depth": 2}, {"lhuc": True, "reads": "ffn_input", "layers": "final_half"}),
    "full": ({"layers": "final_half"},),
    "lhuc": ({"layers": "final_half"},),
    "lora": ({"maps": ["q", "k", "v", "o", "up", "down"], "rank": 2, "alpha": 3.0}, {"layers": "first_half"}),
    "low_rank": (
        {"activation": "identity", "width": 5},
        {"lhuc": True, "reads": "ffn_input", "layers": "first_half"},
    ),
    "pal": (
        {"share_v": False, "width": 12, "heads": 4},
        {"form": "paper", "layers": [0, 2]},
        {"lhuc": True},
        {"reads": "ffn_input", "layers": "final_half"},
    ),
    "p_tuning": ({"encoder": "lstm", "width": 5, "length": 2},),
    "prefix_tuning": ({"width": 5},),
    "residual_adapter": ({"form": "series"}, {"rank": 3}, {"form": "series", "rank": 2, "layers": [1]}),
    "soft_prompt": ({"init": "random", "length": 5},),
    "top_attention": ({"depth": 2, "heads": 4, "width": 8},),
    "top_ffn": ({"depth": 2, "width": 7},),
}
# Methods that a family has no place for: asking is a UserError.
UNFIT = {("bitfit", "modernbert")}  # no biases

NAMES = ("a", "b", "c", "d")
EXPERTS = (3, 0, 1, 3)  # of the rows below: neither in order nor all of them
LENGTHS = (7, 3, 5, 6)
IDS = torch.from_numpy(np.random.default_rng(0).integers(5, 60, (len(LENGTHS), max(LENGTHS))))
MASK = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()


@cache
def shared_backbone(family: str, dtype: torch.dtype) -> Backbone:
    """A backbone of the family that no test changes."""
    backbone = tiny_backbone(family)
    backbone.model.to(dtype).requires_grad_(False)
    return backbone


def make_method(name: str, settings: Mapping[str, Any]) -> Method:
    """A method without dropout, with a prompt of three positions if it has one."""
    still = {"dropout": 0.0, "length": 3}
    known = METHODS.get(name).model_fields
    return parse_method({"name": name, **{key: still[key] for key in still if key in known}, **settings})


@dataclass
class Case:
    """One method with its settings on one family, and the rows to try it on."""

    method: Method
    family: str
    banks: list[Bank] = field(default_factory=list)

    ids, mask, experts, lengths = IDS, MASK, EXPERTS, LENGTHS

    @property
    def changes(self) -> bool:
        """Does the method have parameters at all?"""
        return self.method.size(self.backbone()) > 0

    def backbone(self, dtype: torch.dtype = torch.float32) -> Backbone:
        """The family's frozen backbone, the same one for all tests."""
        return shared_backbone(self.family, dtype)

    def bank(self, backbone: Backbone, names: Sequence[str] = NAMES, noise: float = 0.3) -> Bank:
        """A bank on the backbone in its number format, in evaluation mode, taken off after the test."""
        bank = Bank(self.method, backbone, names).to(next(backbone.model.parameters()).dtype).eval()
        self.banks.append(bank)
        shake(bank, noise)
        return bank

    def mixed(self, bank: Bank) -> AbstractContextManager[None]:
        """The bank's block for the rows of the case, each with its own expert."""
        return bank.rows(*mixed_experts(torch.tensor(self.experts)), self.mask)

    def run(self, backbone: Backbone) -> Tensor:
        """The last hidden state of the case's rows: B T D."""
        return hidden_of(backbone, self.ids, self.mask)


def hidden_of(backbone: Backbone, ids: Tensor, mask: Tensor) -> Tensor:
    """The last hidden state: ids B T to B T D."""
    return backbone.model(input_ids=ids, attention_mask=mask).last_hidden_state  # type: ignore[no-any-return]


def shake(bank: Bank, noise: float) -> None:
    """Add noise to every parameter: no two experts alike, nothing at 0."""
    generator = torch.Generator().manual_seed(len(bank.stack.names))
    with torch.no_grad():
        values = bank.stack.values
        values += noise * torch.randn(values.shape, generator=generator).to(values)


def settings_of(name: str, fixture: str) -> Sequence[Mapping[str, Any]]:
    """The settings with which a fixture tries a method."""
    if fixture == "case":
        return ({}, *VARIANTS.get(name, ()))
    if fixture == "dropout_case" and "dropout" not in METHODS.get(name).model_fields:
        return ()
    return ({},)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`case`: every method and its variants on every family; the other fixtures: the methods with their defaults."""
    for fixture in ("case", "plain_case", "dropout_case"):
        if fixture not in metafunc.fixturenames:
            continue
        cases = [
            (make_method(name, settings), family)
            for name in METHODS.names()
            for settings in settings_of(name, fixture)
            for family in TINY_FAMILIES
            if (name, family) not in UNFIT
        ]
        metafunc.parametrize(fixture, cases, ids=[_id(*case) for case in cases], indirect=True)


def _id(method: Method, family: str) -> str:
    settings = method.model_dump(exclude_defaults=True, exclude={"dropout"})
    return "-".join([family, method.name, *(f"{key}={value}" for key, value in settings.items())])


def _case(request: pytest.FixtureRequest) -> Iterator[Case]:
    case = Case(*request.param)
    yield case
    for bank in case.banks:
        bank.detach()


case = pytest.fixture(_case, name="case")
plain_case = pytest.fixture(_case, name="plain_case")
dropout_case = pytest.fixture(_case, name="dropout_case")


# Tasks of every kind that a head answers, with rows of different lengths.
def _task(name: str, output: Choice | Number, metric: str) -> Task:
    record = {"name": name, "cluster": "c", "inputs": ("x", "y"), "output": output.model_dump(), "metric": metric}
    return Task.model_validate(record | {"splits": {"train": "train.jsonl"}})


TASKS: tuple[Task, ...] = (
    _task("three", Choice(field="label", choices=("p", "q", "r")), "accuracy"),
    _task("number", Number(field="label", range=(1.0, 5.0)), "pearson"),
    _task("options", Choice(field="label", choices_field="options"), "accuracy"),
    _task("two", Choice(field="label", choices=("no", "yes")), "accuracy"),
)
WIDTHS = {"three": 3, "number": 1, "options": 1, "two": 2}
ROWS = 8  # of each task


@cache
def encoded_tasks() -> tuple[Encoded, ...]:
    """Training rows of `TASKS`, with the tiny backbones' tokenizer."""
    tokenizer = shared_backbone("bert", torch.float32).tokenizer
    random = np.random.default_rng(5)
    letters = list("abcdefghijklmnopqrstuvwxyz")

    def text(longest: int) -> str:
        return " ".join(random.choice(letters, random.integers(1, longest + 1)))

    def example(task: Task) -> Example:
        if isinstance(task.output, Number):
            return Example((text(6), text(4)), (), float(random.uniform(1, 5)))
        count = int(random.integers(2, 5))
        options = task.output.choices or tuple(f"{letter} {text(2)}" for letter in letters[:count])
        return Example((text(6), text(4)), options, int(random.integers(len(options))))

    return tuple(encode(task, [example(task) for _ in range(ROWS)], tokenizer, 20) for task in TASKS)


MakeJoint = Callable[..., JointModel]


@pytest.fixture
def make_joint() -> Iterator[MakeJoint]:
    """A maker of joint models on a case's method; their banks are taken off after the test."""
    made: list[JointModel] = []

    def make(
        case: Case,
        tasks: Sequence[str] = tuple(WIDTHS),
        *,
        backbone: Backbone | None = None,
        tuned: bool = False,
        noise: float = 0.3,
        pooler: PoolerKind = "shared",
        pooling: Pooling = "first",
    ) -> JointModel:
        backbone = case.backbone() if backbone is None else backbone
        bank = case.bank(backbone, tasks, noise)
        heads = Heads(backbone, {name: WIDTHS[name] for name in tasks}, pooler=pooler).to(bank.stack.values.dtype)
        made.append(JointModel(backbone, bank, heads, pooling=pooling, tuned=tuned).eval())
        return made[-1]

    yield make
    for model in made:
        model.bank.detach()


@dataclass
class Training:
    """A joint model with its optimizer; `data[i]` are the rows of its task i."""

    model: JointModel
    data: Sequence[Encoded]
    settings: TrainingSettings

    def __post_init__(self) -> None:
        self.optimizers = Optimizers(self.model, self.settings)
        self.model.train()

    def step(self, tasks: Sequence[int], rows: Sequence[int]) -> None:
        """One step on `rows[b]` of task `tasks[b]`, as the training loop does it."""
        batch = collate(self.data, tasks, rows, 0)
        weights = torch.from_numpy(row_weights(np.asarray(tasks), independent=not self.model.tuned))
        (row_losses(self.model(batch).float(), batch) @ weights).backward()
        self.optimizers.step(sorted(set(tasks)), 1.0)


def training_settings(**changes: Any) -> TrainingSettings:
    """Settings with everything on that could move what must not move."""
    return TrainingSettings(
        **{"steps": 1, "weight_decay": 0.1, "learning_rate": 1e-2, "module_learning_rate": 1e-2, **changes}
    )
