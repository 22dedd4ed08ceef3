"""Fixtures and settings that every test shares."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Workers share the cores: one thread each. Set before torch is imported, which reads it once.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# The same examples in every run: a failure that others cannot repeat helps nobody.
settings.register_profile("multigraft", derandomize=True, deadline=None, database=None)
settings.load_profile("multigraft")

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="runs with --slow"))


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Path]:
    """MULTIGRAFT_HOME of the tests: one temporary folder for all workers, never the user's own."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIGRAFT_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data; the test is skipped where there is none."""
    folder = Path(os.environ.get("MULTIGRAFT_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("MULTIGRAFT_DATA names no folder of real data")
    return folder


@pytest.fixture(scope="session")
def backbone_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A maker of folders with a tiny backbone of a family, its pooler and its tokenizer, as the hub has them."""
    made: dict[tuple[str, float], str] = {}

    def make(family: str = "bert", dropout: float = 0.0) -> str:
        from torch import nn

        from multigraft.backbones.tiny import TINY_TEXT_FAMILIES, tiny_backbone, tiny_text_backbone

        if (family, dropout) not in made:
            folder = tmp_path_factory.mktemp(f"tiny-{family}")
            if family in TINY_TEXT_FAMILIES:
                backbone = tiny_text_backbone(family)
            else:
                backbone = tiny_backbone(family, dropout=dropout)
            if backbone.pooler is not None:
                backbone.model.pooler = nn.ModuleDict({"dense": backbone.pooler})
            backbone.model.save_pretrained(folder)  # type: ignore[operator]
            backbone.tokenizer.save_pretrained(folder)
            made[family, dropout] = str(folder)
        return made[family, dropout]

    return make


NOUNS, TAILS = ("cat", "dog"), ("who", "why", "one", "two", "more")


def _feeling(draw: random.Random) -> dict[str, Any]:
    label = draw.choice(["bad", "good"])
    return {"text": f"the {draw.choice(NOUNS)} is {label} {draw.choice(TAILS)}", "label": label}


def _amount(draw: random.Random) -> dict[str, Any]:
    count = draw.randrange(5)
    words = ["red"] * count + ["blue"] * draw.randrange(1, 4)
    draw.shuffle(words)
    return {"text": " ".join(words), "label": count + 1.0}


def _pick(draw: random.Random) -> dict[str, Any]:
    options = draw.sample(["red", "blue", "small", "big"], draw.randrange(2, 5))
    label = draw.randrange(len(options))
    return {"text": f"a {options[label]} {draw.choice(NOUNS)}", "options": options, "label": label}


def _animal(draw: random.Random) -> dict[str, Any]:
    label = draw.choice(["none", "cat", "dog"])
    seen = f"the {label} is {draw.choice(TAILS)}" if label != "none" else f"no {draw.choice(TAILS)}"
    return {"text": seen, "about": f"who is {draw.choice(TAILS)}", "label": label}


def _reply(draw: random.Random) -> dict[str, Any]:
    return {"text": draw.choice(TAILS), "label": "yes"}


# name: rows of the training split, inputs, output, metric, and a row
TINY_TASKS: dict[str, tuple[int, list[str], dict[str, Any], str, Callable[[random.Random], dict[str, Any]]]] = {
    "feeling": (120, ["text"], {"kind": "choice", "choices": ["bad", "good"]}, "accuracy", _feeling),
    "amount": (80, ["text"], {"kind": "number", "range": [1, 5]}, "pearson", _amount),
    "pick": (60, ["text"], {"kind": "choice", "choices_field": "options"}, "accuracy", _pick),
    "animal": (160, ["text", "about"], {"kind": "choice", "choices": ["none", "cat", "dog"]}, "macro_f1", _animal),
    "reply": (60, ["text"], {"kind": "text"}, "exact_match", _reply),
}
TINY = ("feeling", "amount", "pick", "animal")  # those that an encoder can answer


@pytest.fixture(scope="session")
def tiny_suite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A suite of small tasks of every kind in the words of the tiny tokenizer; `reply` is answered with a text."""
    folder = tmp_path_factory.mktemp("suite")
    for name, (size, inputs, output, metric, row) in TINY_TASKS.items():
        place = folder / name
        place.mkdir()
        task = {"name": name, "cluster": "c", "inputs": inputs, "output": output | {"field": "label"},
                "metric": metric, "licence": "CC0", "splits": {}}  # fmt: skip
        for split, rows in (("train", size), ("validation", 30), ("test", 20)):
            draw = random.Random(f"{name} {split}")
            lines = [json.dumps(row(draw)) + "\n" for _ in range(rows)]
            (place / f"{split}.jsonl").write_text("".join(lines))
            task["splits"][split] = f"{split}.jsonl"  # type: ignore[index]
        (place / "task.yaml").write_text(json.dumps(task))
    (folder / "suite.yaml").write_text(json.dumps({"name": "tiny", "tasks": list(TINY_TASKS)}))
    return str(folder)


@pytest.fixture(scope="session")
def tiny_recipe(tiny_suite: str, backbone_folder: Callable[..., str]) -> Callable[..., dict[str, Any]]:
    """A maker of recipes of short float32 runs on the tiny suite, with some values changed: `training__steps=5`."""

    def make(family: str = "bert", dropout: float = 0.0, **changes: Any) -> dict[str, Any]:
        recipe: dict[str, Any] = {
            "suite": tiny_suite,
            "tasks": list(TINY),
            "backbone": {"name": backbone_folder(family, dropout)},
            "method": {"name": "low_rank", "width": 4},
            "schedule": "proportional",
            "training": {"steps": 12, "epochs": 3, "batch_size": 8, "precision": "fp32", "learning_rate": 1e-3,
                         "module_learning_rate": 3e-3, "checkpoint_seconds": 0},
        }  # fmt: skip
        for key, value in changes.items():
            group, _, inner = key.partition("__")
            if inner:
                recipe[group][inner] = value
            else:
                recipe[group] = value
        return recipe

    return make
