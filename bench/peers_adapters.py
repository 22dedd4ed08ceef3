"""The `adapters` library's side, in a process of its own: bottleneck adapters and their Parallel block."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

# Replies alone go to standard output.
REPLIES = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

LAYERS = {"every": [], "final_half": [0, 1, 2]}  # layers of MiniLM that are left out


def model_with(settings: dict[str, Any], left_out: list[int]) -> Any:
    """MiniLM with an adapter after both sublayers and a head for each task; heads share the pooler, as ours do.

    Without dropout in the backbone, which is frozen.
    """
    from adapters import AutoAdapterModel, DoubleSeqBnConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    model = AutoAdapterModel.from_pretrained(
        settings["model"], hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    factor = model.config.hidden_size / settings["width"]
    for task in range(settings["tasks"]):
        config = DoubleSeqBnConfig(reduction_factor=factor, non_linearity="gelu", leave_out=left_out)
        model.add_adapter(f"task{task}", config=config)
        model.add_classification_head(f"task{task}", num_labels=2, layers=1, use_pooler=True)
    return model.to(settings["device"])


def sides_of(settings: dict[str, Any]) -> dict[str, Callable[[], None]]:
    """The work by name."""
    import torch
    from adapters.composition import Parallel

    def tensors(part: str) -> dict[str, Any]:
        ids, mask = (torch.tensor(settings[part][key], device=settings["device"]) for key in ("ids", "mask"))
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}

    def bf16() -> Any:
        return torch.autocast(settings["device"], dtype=torch.bfloat16)

    def training_step(left_out: list[int]) -> Callable[[], None]:
        model = model_with(settings | {"tasks": 1}, left_out)
        model.train_adapter("task0")
        model.train()
        trained = [p for p in model.parameters() if p.requires_grad]
        decay, plain = ([p for p in trained if (p.dim() > 1) == matrix] for matrix in (True, False))
        groups = [{"params": decay, "weight_decay": settings["weight_decay"]}, {"params": plain, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=settings["learning_rate"], fused=True)
        inputs = tensors("rows") | {"labels": torch.tensor(settings["rows"]["labels"], device=settings["device"])}

        def step() -> None:
            with bf16():
                loss = model(**inputs).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, settings["clip"])
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return step

    def forward(left_out: list[int], parallel: bool) -> Callable[[], None]:
        model = model_with(settings, left_out).eval()
        names = [f"task{task}" for task in range(settings["tasks"])]
        inputs = tensors("texts")
        if parallel:
            model.set_active_adapters(Parallel(*names))

        def answer() -> None:
            with torch.inference_mode(), bf16():
                if parallel:
                    model(**inputs)
                    return
                for name in names:
                    model.set_active_adapters(name)
                    model(**inputs)

        return answer

    sides = {}
    for layers, left_out in LAYERS.items():
        sides[f"training step/{layers}"] = training_step(left_out)
        sides[f"8 tasks on 4 texts/{layers}"] = forward(left_out, True)
        sides[f"8 passes/{layers}"] = forward(left_out, False)
    return sides


def main() -> None:
    """Answer requests until the input ends."""
    import torch

    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    settings = json.loads(sys.stdin.readline())["build"]
    torch.set_num_threads(settings["threads"])
    sides = sides_of(settings)
    versions = {"adapters": metadata.version("adapters"), "its transformers": metadata.version("transformers")}
    print(json.dumps(versions), file=REPLIES)
    for line in sys.stdin:
        work = sides[json.loads(line)["run"]]
        wait()
        started = time.perf_counter()
        work()
        wait()
        print(json.dumps(time.perf_counter() - started), file=REPLIES)


if __name__ == "__main__":
    main()
