"""Pretrain the decoder of the embedded text-to-text backbone `pocket`.

    python tools/pretrain_pocket.py RUN --data DATA --steps 30000      # start
    python tools/pretrain_pocket.py RUN --data DATA --resume           # go on after an interruption
    python tools/pretrain_pocket.py RUN --data DATA --finish           # write pocket.safetensors and POCKET.md

DATA is the folder that has `tasks/index.json`. RUN becomes a folder with the corpus as word pieces (`corpus/`), the
last checkpoint (`checkpoint/`) and a log (`log.jsonl`): one line per measurement, with the mean nats per target piece
of training since the line before and of fixed held-out examples.

The rate of learning rises over `--warmup` steps, stays, and falls linearly to nothing over the last quarter of the
steps. Everything follows from the seed and the number of steps, not from the clock, and a run that was killed ends
as if it had not been, on the CPU bit for bit. To stop earlier or later than planned, resume with another `--steps`:
as long as the fall has not begun, the run is the one that would have been with that number from the start.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pocket_baselines import copy_nats, unigram, unigram_nats
from pocket_card import card
from pocket_corpus import Corpus, corpus_of
from pocket_objectives import SHARES, Forms, Pair
from pocket_step import Trainee, groups, pairs_of_step
from safetensors.torch import load_file, save_file

from multigraft.backbones.load import load_tokenizer
from multigraft.backbones.pocket import build_pocket, load_pocket, save_pocket, shipped_parameters
from multigraft.errors import UserError
from multigraft.files import new_folder, recover_folder, write_json, write_text

_DEFAULTS = {"rows": 64, "rate": 7e-4, "warmup": 1000, "seed": 0}
FITTED_ON = 20_000  # training examples that the baselines and the output bias are fitted on
MEASURED, MEASURED_LAST = 80, 500  # held-out examples of every form: for the log, for the card
_FIT, _HELD_OUT = 1, 2  # streams of examples beside those of training


@dataclass(frozen=True)
class Plan:
    """What decides the outcome, with the data."""

    steps: int
    rows: int
    rate: float
    warmup: int
    seed: int

    def rate_at(self, step: int) -> float:
        """Rate of learning of a step, counted from 0."""
        return self.rate * min((step + 1) / self.warmup, 1.0, (self.steps - step) / (self.steps / 4))


class Run:
    """A pretraining run: model, optimizer, and where it stands."""

    def __init__(self, plan: Plan, corpus: Corpus, tokenizer: Any, device: torch.device) -> None:
        self.plan, self.corpus = plan, corpus
        self.step, self.pieces, self.seconds = 0, 0, 0.0
        self.forms = Forms(corpus.texts(held_out=False), tokenizer)
        self.unseen = Forms(corpus.texts(held_out=True), tokenizer)
        model = build_pocket(plan.seed)
        words = unigram(self.fitting_pairs(), model.config.vocab_size)
        self.parameters = shipped_parameters(model)
        with torch.no_grad():  # a word's frequency is quick to count and slow to learn
            self.parameters["decoder.cls.predictions.bias"].copy_(torch.from_numpy(np.log(words)))
        self.trainee = Trainee(model, device)
        matrices = [p for p in self.parameters.values() if p.dim() > 1]
        others = [p for p in self.parameters.values() if p.dim() == 1]
        parts = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(parts, plan.rate, betas=(0.9, 0.98), eps=1e-8, fused=True)

    def fitting_pairs(self) -> list[Pair]:
        """What the baselines and the output bias are fitted on."""
        rng = np.random.default_rng([self.plan.seed, 0, _FIT])
        return [self.forms.draw(rng) for _ in range(FITTED_ON)]

    def held_out_pairs(self, each: int) -> list[Pair]:
        """Fixed held-out examples, `each` of every form; the same whatever the plan."""
        rng = np.random.default_rng([0, 0, _HELD_OUT])
        return [self.unseen.draw(rng, form) for form in SHARES for _ in range(each)]

    def advance(self) -> float:
        """One step of the optimizer. Returns the mean nats per target piece before it."""
        began, total = time.perf_counter(), 0.0
        batches = groups(pairs_of_step(self.forms, self.plan.seed, self.step, self.plan.rows))
        pieces = sum(int((batch.target != 0).sum()) for batch in batches)
        for batch in batches:
            loss = self.trainee.losses(batch)[0].sum() / pieces
            loss.backward()
            total += loss.item()
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate_at(self.step)
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step, self.pieces = self.step + 1, self.pieces + pieces
        self.seconds += time.perf_counter() - began
        return total

    def save(self, folder: Path) -> None:
        """Write a checkpoint; the one before stays until the new one is whole."""
        state = self.optimizer.state
        where = {"step": self.step, "pieces": self.pieces, "seconds": self.seconds}
        with new_folder(folder) as new:
            save_file({n: p.detach() for n, p in self.parameters.items()}, new / "weights.safetensors")
            moments = {f"{n}/{k}": v for n, p in self.parameters.items() for k, v in state[p].items()}
            save_file(moments, new / "optimizer.safetensors")
            write_json(new / "state.json", {"plan": asdict(self.plan), **where})

    def load(self, folder: Path) -> None:
        """Go to where a checkpoint was written; the plan stays this run's."""
        weights, moments = (load_file(folder / f"{name}.safetensors") for name in ("weights", "optimizer"))
        where = json.loads((folder / "state.json").read_text())
        self.step, self.pieces, self.seconds = where["step"], where["pieces"], where["seconds"]
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])
                keys = ("step", "exp_avg", "exp_avg_sq")
                self.optimizer.state[parameter] = {k: moments[f"{name}/{k}"].to(parameter.device) for k in keys}


def train(run: Run, folder: Path, every: int) -> None:
    """Train to the end of the plan; measure, log and save every so many steps and at the end."""
    held_out, log = run.held_out_pairs(MEASURED), folder / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    lines = [line for line in lines if line["step"] <= run.step]
    losses, since = [], (run.pieces, run.seconds)
    while run.step < run.plan.steps:
        losses.append(run.advance())
        if run.step % every == 0 or run.step == run.plan.steps:
            lines.append(
                {
                    "step": run.step,
                    "pieces": run.pieces,
                    "pieces_per_second": round((run.pieces - since[0]) / (run.seconds - since[1]), 1),
                    "seconds": round(run.seconds, 1),
                    "loss": sum(losses) / len(losses),
                    "held_out": run.trainee.measure(held_out),
                }
            )
            losses, since = [], (run.pieces, run.seconds)
            write_text(log, "".join(json.dumps(line) + "\n" for line in lines))
            run.save(folder / "checkpoint")
            print(json.dumps(lines[-1]), flush=True)


def plan_of(options: argparse.Namespace, state: Path) -> Plan:
    """The plan that the options name, or that of the checkpoint with what may change of it."""
    named = {key: value for key in ("steps", *_DEFAULTS) if (value := getattr(options, key)) is not None}
    if not state.exists():
        if options.finish or "steps" not in named:
            raise UserError("no checkpoint yet", where=options.run, fix="start with --steps")
        return Plan(**{**_DEFAULTS, **named})
    if not (options.resume or options.finish):
        raise UserError("has a checkpoint already", where=options.run, fix="add --resume, or name another folder")
    plan = Plan(**json.loads(state.read_text())["plan"])
    changed = [key for key in _DEFAULTS if named.get(key, getattr(plan, key)) != getattr(plan, key)]
    if changed:
        raise UserError(f"started with another --{changed[0]}", where=options.run, fix="name another folder")
    return replace(plan, **named)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    options = _parser().parse_args(arguments)
    folder, checkpoint = options.run, options.run / "checkpoint"
    recover_folder(checkpoint)
    plan = plan_of(options, checkpoint / "state.json")
    tokenizer = load_tokenizer("minilm")
    corpus = corpus_of(options.data, folder / "corpus", tokenizer)
    run = Run(plan, corpus, tokenizer, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if checkpoint.exists():
        run.load(checkpoint)
    if options.finish:
        finish(run, folder)
    else:
        train(run, folder, options.every)


def finish(run: Run, folder: Path) -> None:
    """Write the weights in 16 bit and the model card, with what the weights as written reach on held-out text."""
    path = folder / "pocket.safetensors"
    sha256 = save_pocket(run.trainee.model, path)
    model = load_pocket(path, sha256)
    held_out, fitting = run.held_out_pairs(MEASURED_LAST), run.fitting_pairs()
    words = unigram(fitting, model.config.vocab_size)
    nats = {
        "pocket": Trainee(model, run.trainee.device).measure(held_out),
        "copy": copy_nats(held_out, words, fitting),
        "unigram": unigram_nats(held_out, words),
    }
    progress = {"step": run.step, "pieces": run.pieces, "hours": run.seconds / 3600}
    write_text(folder / "POCKET.md", card(asdict(run.plan), progress, run.corpus.counts, nats, sha256))
    print(f"POCKET_SHA256 = {sha256!r}  # {path}, {path.stat().st_size:,} bytes")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("MULTIGRAFT_DATA", "."), help="default: MULTIGRAFT_DATA"
    )
    parser.add_argument("--steps", type=int, help="steps of the optimizer in all")
    parser.add_argument("--rows", type=int, help="examples per step (default 64)")
    parser.add_argument("--rate", type=float, help="highest rate of learning (default 7e-4)")
    parser.add_argument("--warmup", type=int, help="steps over which the rate rises (default 1000)")
    parser.add_argument("--seed", type=int, help="default 0")
    parser.add_argument("--every", type=int, default=500, help="steps between measurements, with a checkpoint each")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--resume", action="store_true", help="go on from the last checkpoint, if there is one")
    mode.add_argument("--finish", action="store_true", help="write pocket.safetensors and POCKET.md")
    return parser


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
