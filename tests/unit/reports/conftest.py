"""A made-up comparison of realistic size, the same for the same seed: what the reports are tested on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from multigraft.strategies.results import Curve, Difference, Draws, Estimate, Results, Row, TaskSummary

# name, cluster, kind, metric, training rows, evaluation rows, majority, bag of words, one model's score
TASKS = (
    ("mnli", "entailment", "choice", "accuracy", 392_702, 1500, 35.4, 41.9, 66.0),
    ("qqp", "paraphrase", "choice", "accuracy", 363_849, 1500, 63.2, 72.4, 80.8),
    ("qnli", "question", "choice", "accuracy", 108_436, 1500, 50.5, 60.1, 83.2),
    ("sst2", "sentiment", "choice", "accuracy", 67_349, 872, 50.9, 78.8, 86.4),
    ("cola", "grammar", "choice", "matthews", 8551, 1043, 0.0, 5.2, 31.3),
    ("stsb", "similarity", "number", "spearman", 5749, 1500, 0.0, 17.9, 85.6),
    ("mrpc", "paraphrase", "choice", "accuracy", 3668, 408, 68.4, 71.1, 81.0),
    ("rte", "entailment", "choice", "accuracy", 2490, 277, 52.7, 54.2, 60.1),
)
# id, label, strategy, method, schedule, tuned, gain, relative size, minutes, ms
ROWS = (
    ("separate", "separate models", "separate", None, "alone", True, 0.0, 8.0, 31.0, 61.2),
    ("shared-annealed", "one shared encoder", "shared", None, "annealed", True, 0.9, 1.0002, 14.2, 9.1),
    ("pal-annealed", "PAL", "module", "pal", "annealed", True, 2.2, 1.131, 17.5, 15.8),
    ("low_rank-annealed", "low-rank", "module", "low_rank", "annealed", True, 2.0, 1.133, 16.1, 13.0),
    ("adapter-annealed", "adapter", "module", "adapter", "annealed", True, 1.5, 1.136, 16.8, 13.9),
    ("lhuc-annealed", "LHUC", "module", "lhuc", "annealed", True, 1.0, 1.0007, 14.6, 10.4),
    ("top-annealed", "top layer", "module", "top_layer", "annealed", True, 1.2, 1.518, 15.0, 10.9),
    ("pal-frozen", "PAL, frozen backbone", "module", "pal", "annealed", False, -5.1, 1.131, 11.9, 15.9),
    ("shared-proportional", "one shared encoder", "shared", None, "proportional", True, -0.4, 1.0002, 14.1, 9.1),
    ("pal-square_root", "PAL", "module", "pal", "square_root", True, 1.3, 1.131, 17.4, 15.7),
)
PLAIN_MODEL = 22_713_216


@pytest.fixture(name="example")
def builder() -> Callable[..., Results]:
    """The builder of examples."""
    return example


def example(seed: int = 0, tasks: int = 8, rows: int = 10, seeds: int = 3, epochs: int = 12) -> Results:
    """A comparison of the first `rows` ways on the first `tasks` tasks with `seeds` seeds; no curves with 0 epochs."""
    random = np.random.default_rng(seed)
    chosen, numbers = TASKS[:tasks], tuple(range(1, seeds + 1))
    measured = [_row(random, way, chosen, numbers, epochs) for way in ROWS[:rows]]
    return Results(
        title="Ways of sharing MiniLM",
        suite="glue8",
        backbone="minilm",
        examples=None,
        created="2025-01-31T12:00:00Z",
        machine={"processor": "two cores of a made-up kind", "memory": "8 GB", "python": "3.11", "torch": "2.13"},
        settings={"suite": "glue8", "seeds": list(numbers), "optimizer": {"lr": 5e-5, "warmup": 0.1}},
        tasks=tuple(
            TaskSummary(
                name=name, cluster=cluster, kind=kind, metric=metric, train_rows=train, evaluation_rows=evaluated,
                split="validation", majority=majority, bag_of_words=words,
            )
            for name, cluster, kind, metric, train, evaluated, majority, words, _ in chosen
        ),
        rows=tuple(measured),
        differences=_differences(measured),
    )  # fmt: skip


def _estimate(random: np.random.Generator, mean: float, noise: float, sampling: float, seeds: int) -> Estimate:
    values = mean + noise * random.standard_normal(seeds)
    stderr = float(values.std(ddof=1) / np.sqrt(seeds)) if seeds > 1 else None
    half = 1.96 * float(np.hypot(stderr or 0.0, sampling))
    middle = float(values.mean())
    return Estimate(
        values=tuple(map(float, values)), mean=middle, stderr=stderr, interval=(middle - half, middle + half)
    )


def _row(random: np.random.Generator, way: tuple, tasks: tuple, seeds: tuple[int, ...], epochs: int) -> Row:
    key, label, strategy, method, schedule, tuned, gain, relative, minutes, ms = way
    scores = {}
    for name, *_, rows, _majority, _words, base in tasks:
        small = 8.0 * gain / 2 if name == "rte" else gain * 0.6
        sampling = 100 * np.sqrt(base / 100 * (1 - base / 100) / rows)
        scores[name] = _estimate(random, base + small, 1.1 if rows < 500 else 0.4, sampling, len(seeds))
    middle = float(np.mean([score.mean for score in scores.values()]))
    average = _estimate(random, middle, 0.25, 0.45, len(seeds))
    shares = _shares(schedule, tasks, epochs)
    return Row(
        id=key, label=label, strategy=strategy, method=method, schedule=schedule, tuned=tuned, seeds=seeds,
        scores=scores, average=average, parameters=int(PLAIN_MODEL * relative),
        trained_parameters=int(PLAIN_MODEL * (relative if tuned else relative - 1)), relative=relative,
        train_seconds=60 * minutes * float(random.uniform(0.97, 1.03)),
        peak_memory_mb=1100 + 300 * float(random.random()), answer_ms=ms,
        ledger={task[0]: _draws(random, task, shares[task[0]]) for task in tasks},
        draws=shares,
        curves=tuple(_curve(random, number, average.mean, epochs) for number in seeds) if epochs else (),
    )  # fmt: skip


def _shares(schedule: str, tasks: tuple, epochs: int) -> dict[str, tuple[float, ...]]:
    sizes = np.array([task[4] for task in tasks], float)
    table = []
    for epoch in range(epochs):
        annealed = 1 - 0.8 * epoch / max(epochs - 1, 1)
        power = {"annealed": annealed, "square_root": 0.5}.get(schedule, 1.0)
        table.append(sizes**power / (sizes**power).sum())
    return {task[0]: tuple(float(row[i]) for row in table) for i, task in enumerate(tasks)}


def _draws(random: np.random.Generator, task: tuple, shares: tuple[float, ...]) -> Draws:
    planned = float(np.mean(shares)) if shares else 0.0
    drawn = int(1_920_000 * planned + random.integers(-50, 50)) if shares else 0
    return Draws(
        planned=planned, drawn=drawn, passes=drawn / task[4], tokens=drawn * int(random.integers(20, 60)),
        padding=float(random.uniform(0.03, 0.08)), truncated=float(random.uniform(0, 0.02)),
    )  # fmt: skip


def _curve(random: np.random.Generator, seed: int, last: float, epochs: int) -> Curve:
    step = np.arange(10, 235 * epochs + 1, 10)
    loss = 0.28 + 0.62 * np.exp(-step / (60 * epochs)) + 0.06 * random.standard_normal(len(step))
    dev_step = 235 * np.arange(1, epochs + 1)
    dev = last - 22 * np.exp(-dev_step / (45 * epochs)) + 0.3 * random.standard_normal(epochs)
    return Curve(
        seed=seed, step=tuple(map(int, step)), train_loss=tuple(map(float, loss)),
        dev_step=tuple(map(int, dev_step)), dev_average=tuple(map(float, dev)),
    )  # fmt: skip


def _differences(rows: list[Row]) -> tuple[Difference, ...]:
    found = []
    for i, a in enumerate(rows):
        for b in rows[i + 1 :]:
            gap = a.average.mean - b.average.mean
            low, high = gap - 0.9, gap + 0.9  # paired: narrower than the two intervals together
            found.append(
                Difference(
                    a=a.id, b=b.id, difference=gap, interval=(low, high), p=min(1.0, float(np.exp(-3.3 * abs(gap))))
                )
            )
    return tuple(found)
