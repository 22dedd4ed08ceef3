"""The command line in processes of its own, which may be killed; what it imports is loaded once for all of them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import yaml

Start = Callable[..., ForkServerProcess]
_HEAVY = ("multigraft.cli.main", "multigraft.strategies.compare", "transformers.models.auto.modeling_auto",
          "transformers.models.bert.modeling_bert", "torch.utils.tensorboard", "torch.nn.parallel")  # fmt: skip


@pytest.fixture(scope="session")
def start() -> Start:
    """A starter of `multigraft ARGUMENTS` with one thread; its output goes to the file `said`, `env` is added."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_HEAVY))

    def begin(*arguments: object, said: Path | None = None, env: dict[str, str] | None = None) -> ForkServerProcess:
        target: Any = _RUNNER
        words = [str(argument) for argument in arguments]
        process = context.Process(
            target=exec, args=(target, {"words": words, "said": said, "env": {"OMP_NUM_THREADS": "1", **(env or {})}})
        )
        process.start()
        return process

    return begin


# Text, because a process that is started anew cannot import the modules of the tests.
_RUNNER = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background have it ignored
if said is not None:
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
os.environ.update(env)
import torch
torch.set_num_threads(1)
from multigraft.cli.common import run
from multigraft.cli.main import build_app
sys.exit(run(build_app(), words))
"""


@pytest.fixture
def write_recipe(tiny_recipe: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Path]:
    """A writer of recipe files for `tiny_recipe`'s arguments."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(tiny_recipe(**changes)))
        return path

    return write
