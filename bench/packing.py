"""Training text models on packed rows over padded ones and over TRL's packing, on the suite flan.

What is compared is the time for a token of data. Needs $MULTIGRAFT_DATA.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator

import numpy as np
from common import BENCH, Measure, Side, compare, finish, interleave, options, run_in, timed, versions
from text_sides import END, PAD, START, drawn_batch, objective_of, text_model, text_step

from multigraft.backbones.load import load_tokenizer
from multigraft.batching.text import TextEncoded, TextFormat
from multigraft.methods.text_model import TextModel
from multigraft.mixing.sampler import Draw
from multigraft.strategies.instruction_data import training_tasks, word_tasks
from multigraft.strategies.instruction_recipe import InstructionRecipe
from multigraft.strategies.sampling import sampler_of
from multigraft.tasks.suite import load_suite
from multigraft.training.objective import TextObjective

SUITE = BENCH.parent / "recipes" / "flan"
EXAMPLES, ROWS, STEPS, STEPS_IN_ROUND, CAPACITY = 300, 32, 128, 2, 640
BACKBONES = ("Llama-like", "pocket")
PACKED, RANDOM, BUCKETED = "packed", "padded, random order", "padded, bucketed"
TRL = "TRL's packing, row by row"
PADDING = 0.03  # at most, of the positions of packed batches


def suite_rows() -> tuple[list[TextEncoded], list[Draw]]:
    """Rows of every task in words, as MiniLM's word pieces, and a run's draws of rows of like lengths."""
    training = {"steps": STEPS, "epochs": 1, "batch_size": ROWS, "batches": "mixed"}
    recipe = InstructionRecipe.model_validate({"suite": str(SUITE), "examples": EXAMPLES, "training": training})
    tasks = training_tasks(recipe, load_suite(SUITE), None)
    form = TextFormat("encoder_decoder", START, END, PAD, recipe.text.max_input, recipe.text.max_target)
    rows = word_tasks(recipe, tasks, None, form, load_tokenizer("minilm")).train
    return list(rows.values()), list(sampler_of(rows, recipe.parsed_schedule(), recipe.training, 0))


def in_random_order(draws: list[Draw]) -> list[Draw]:
    """The same rows, drawn in random order."""
    tasks, rows = (np.concatenate([getattr(draw, name) for draw in draws]) for name in ("tasks", "rows"))
    order = np.random.default_rng(0).permutation(len(rows)).reshape(-1, ROWS)
    return [Draw(tasks[some], rows[some], 1) for some in order]


def evenly(draws: list[Draw], data: list[TextEncoded]) -> list[Draw]:
    """The draws of like lengths in such an order that those of a round are evenly spread over the lengths."""
    ordered = sorted(draws, key=lambda draw: int(tokens_of(draw, data)))
    apart = len(draws) // STEPS_IN_ROUND
    return [draw for k in np.random.default_rng(0).permutation(apart) for draw in ordered[k::apart]]


def tokens_of(draw: Draw, data: list[TextEncoded]) -> int:
    """Tokens of data in a draw."""
    return sum(int(data[t].lengths[r]) for t, r in zip(draw.tasks, draw.rows, strict=True))


def per_token(steps: Iterator[Callable[[], int]]) -> Side:
    """A side that takes the next steps, each of which gives its tokens; in seconds for a thousand tokens."""

    def side() -> float:
        tokens: list[int] = []
        seconds = timed(lambda: tokens.extend(step() for step in itertools.islice(steps, STEPS_IN_ROUND)))()
        return seconds / sum(tokens) * 1e3

    return side


def our_side(model: TextModel, objective: TextObjective, draws: list[Draw]) -> Side:
    """Steps on the draws, collated here."""
    step = text_step(model, objective)

    def run(draw: Draw) -> int:
        step(*drawn_batch(objective, draw.tasks, draw.rows))
        return tokens_of(draw, objective.data)  # type: ignore[arg-type]

    return per_token((lambda draw=draw: run(draw)) for draw in itertools.cycle(draws))


def padding_of(objective: TextObjective, draws: list[Draw]) -> list[float]:
    """Share of the positions in each batch that hold no token."""
    shares = []
    for draw in draws:
        batch = objective.collate(draw.tasks, draw.rows)
        blocks = [batch.block] + ([] if batch.source_block is None else [batch.source_block])
        shares.append(sum(int((b == 0).sum()) for b in blocks) / sum(b.numel() for b in blocks))
    return shares


def padding_measure(what: str, shares: list[float], target: float | None) -> Measure:
    """The mean share of padding, with its quartiles over the steps."""
    low, _, high = statistics.quantiles(shares, n=4)
    return Measure(what, "all positions", statistics.mean(shares), low, high, target, None, None, len(shares))


def main() -> None:
    """Measure and keep the results."""
    run_in("trl")
    chosen = options(__doc__ or "")
    from peers_trl import trl_side

    data, bucketed = suite_rows()
    random, bucketed = in_random_order(bucketed), evenly(bucketed, data)
    ways = {PACKED: (random, CAPACITY), RANDOM: (random, None), BUCKETED: (bucketed, None)}
    measures, padding = [], []
    for name in BACKBONES:
        sides = {}
        for way, (draws, packing) in ways.items():
            model = text_model(name, "heads_only", tuned=True)
            objective = objective_of(model, data, packing)
            sides[f"{name}, {way}"] = our_side(model, objective, draws)
            shares = padding_of(objective, draws)
            padding.append(padding_measure(f"padding, {name}, {way}", shares, PADDING if way == PACKED else None))
        if name == "Llama-like":
            sides[f"{name}, {TRL}"] = per_token(trl_side(random, data, CAPACITY, ROWS))
        times = interleave(sides, chosen.seconds, warm_up=1)
        ours = f"{name}, {PACKED}"
        measures += [
            compare(times, ours, side, 1 / 1.3 if side == f"{name}, {RANDOM}" else None)
            for side in sides
            if side != ours
        ]
    settings = {"suite": "flan", "rows in a step": ROWS, "tokens in a packed row": CAPACITY, "backbone": "tuned",
                "precision": "bf16 autocast", "ms": "for 1000 tokens of data"}  # fmt: skip
    title = "Time for a token of data in training, packed"
    finish("packing", title, measures + padding, chosen, settings=settings, peers=versions("trl"))


if __name__ == "__main__":
    main()
