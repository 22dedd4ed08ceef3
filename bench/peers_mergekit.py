"""mergekit's side: full models in files. A process of its own, in the environment `mergekit`; see `common.Peer`."""

from __future__ import annotations

import json
import shutil
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions


def main() -> None:
    """Answer requests until there are no more. `build` gives mergekit's configurations and where their results go."""
    replies, sys.stdout = sys.stdout, sys.stderr  # mergekit prints
    sides: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "build" in request:
            torch.set_num_threads(request["build"]["threads"])
            sides = request["build"]["sides"]
            reply: object = {package: metadata.version(package) for package in ("mergekit",)} | {
                "its transformers": metadata.version("transformers")
            }
        else:
            reply = merge(**sides[request["run"]])
        print(json.dumps(reply), file=replies, flush=True)


def merge(config: dict[str, Any], output: str) -> float:
    """Merge once, after the last result is deleted; gives the seconds it took."""
    shutil.rmtree(Path(output), ignore_errors=True)
    options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, lazy_unpickle=True)
    started = time.perf_counter()
    run_merge(MergeConfiguration.model_validate(config), output, options)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
