"""A made-up comparison of realistic size, the same for the same seed: what the reports are tested on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from multigraft.strategies.results import (
    Clean,
    Curve,
    Difference,
    Draws,
    Estimate,
    HeldOut,
    Results,
    Row,
    TaskSummary,
    Wordings,
)

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
# name, cluster, metric, training rows, evaluation rows, chance, majority, bag of words, the untuned model's score
IN_WORDS = (
    ("rte", "nli", "accuracy", 2490, 277, 50.0, 52.7, 54.2, 49.5),
    ("cb", "nli", "macro_f1", 250, 56, 30.1, 22.2, 41.0, 27.3),
    ("mnli", "nli", "accuracy", 30_000, 500, 33.3, 35.4, 41.9, 34.8),
    ("piqa", "commonsense", "accuracy", 16_113, 500, 50.0, 50.5, 52.6, 55.2),
    ("copa", "commonsense", "accuracy", 400, 100, 50.0, 55.0, 49.0, 57.0),
    ("social_iqa", "commonsense", "accuracy", 30_000, 500, 33.3, 33.6, 38.8, 36.1),
    ("sciq", "closed_book_qa", "exact_match", 11_679, 500, None, None, None, 3.1),
    ("web_questions_in_one_line", "closed_book_qa", "token_f1", 3778, 500, None, None, None, 2.0),
    ("arc_easy", "closed_book_qa", "accuracy", 0, 500, 25.0, None, None, 28.4),
)
# id, label, strategy, schedule, clusters trained on, series, gain by cluster
TUNED = (
    ("untuned", "untuned", "untuned", "", None, None, (0.0, 0.0, 0.0)),
    ("untuned-4", "untuned, 4 shots", "untuned", "", None, None, (1.2, 0.6, 1.9)),
    ("all", "all clusters", "instructions", "proportional", 11, "4b1d0e77aa", (9.5, 0.7, -1.4)),
    ("one", "1 cluster", "instructions", "proportional", 1, "4b1d0e77aa", (-1.0, -2.4, -2.9)),
    ("two", "2 clusters", "instructions", "proportional", 2, "4b1d0e77aa", (2.0, -1.0, -2.2)),
    ("four", "4 clusters", "instructions", "proportional", 4, "4b1d0e77aa", (5.1, 0.2, -1.0)),
    ("eight", "8 clusters", "instructions", "proportional", 8, "4b1d0e77aa", (8.3, 0.4, -1.2)),
    ("name", "name only", "instructions", "proportional", 11, None, (4.0, -0.9, -1.9)),
    ("no_template", "no template", "instructions", "proportional", 11, None, (1.5, -1.8, -2.4)),
)
TEMPLATES = ("does it follow", "can you infer", "true or false", "judge the claim", "in one word")


@pytest.fixture(name="example")
def builder() -> Callable[..., Results]:
    """The builder of examples."""
    return example


@pytest.fixture(name="instructed")
def instructed_builder() -> Callable[..., Results]:
    """The builder of examples of instruction tuning."""
    return instructed


def instructed(seed: int = 0, seeds: int = 2, tasks: int = 9) -> Results:
    """Instruction tuning measured on three held-out clusters, the last of them partly answered in free text."""
    random = np.random.default_rng(seed)
    chosen, numbers = IN_WORDS[:tasks], tuple(range(seeds))
    measured = [_worded_row(random, way, chosen, numbers if way[2] != "untuned" else (0,)) for way in TUNED]
    return Results(
        title="Instructions for a small model",
        suite="flan",
        backbone="pocket",
        examples=30_000,
        created="2025-02-28T12:00:00Z",
        machine={"processor": "two cores of a made-up kind", "memory": "8 GB"},
        settings={"suite": "flan", "seeds": list(numbers), "hold_out": ["nli", "commonsense", "closed_book_qa"]},
        tasks=tuple(
            TaskSummary(
                name=name, cluster=cluster, kind="text" if metric in ("exact_match", "token_f1") else "choice",
                metric=metric, train_rows=train, evaluation_rows=evaluated, split="validation", majority=majority,
                bag_of_words=words, chance=chance,
            )
            for name, cluster, metric, train, evaluated, chance, majority, words, _ in chosen
        ),
        rows=tuple(measured),
        differences=_differences(measured),
        held_out=tuple(_held_out(cluster, chosen) for cluster in _clusters(chosen)),
    )  # fmt: skip


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


def _clusters(tasks: tuple) -> list[str]:
    return list(dict.fromkeys(task[1] for task in tasks))


def _worded_row(random: np.random.Generator, way: tuple, tasks: tuple, seeds: tuple[int, ...]) -> Row:
    key, label, strategy, schedule, count, series, gains = way
    scores, wordings, clean = {}, {}, {}
    for name, cluster, _, _, rows, _, _, _, base in tasks:
        mean = max(base + gains[_clusters(IN_WORDS).index(cluster)] * float(random.uniform(0.6, 1.4)), 2.5)
        sampling = 100 * np.sqrt(mean / 100 * (1 - mean / 100) / rows)
        scores[name] = _estimate(random, mean, 0.5, sampling, len(seeds))
        by_template = scores[name].mean + np.clip(1.2 * base / 30 * random.standard_normal(len(TEMPLATES)), -6, 6)
        names = TEMPLATES if key not in ("name", "no_template") else TEMPLATES[:1]
        low, median, high = np.quantile(by_template[: len(names)], (0.25, 0.5, 0.75))
        wordings[name] = Wordings(
            by_template=dict(zip(names, map(float, by_template))), best=None if name == "arc_easy" else float(high),
            lower_quartile=float(low), median=float(median), upper_quartile=float(high),
        )  # fmt: skip
        if strategy == "instructions":
            clean[name] = _clean(random, rows, scores[name].mean, {"cb": rows, "copa": 0}.get(name, rows // 20))
    averages = {
        cluster: _estimate(
            random, float(np.mean([scores[t[0]].mean for t in tasks if t[1] == cluster])), 0.3, 1.6, len(seeds)
        )
        for cluster in _clusters(tasks)
    }
    middle = float(np.mean([score.mean for score in scores.values()]))
    return Row(
        id=key, label=label, strategy=strategy, method=None, schedule=schedule, tuned=strategy == "instructions",
        seeds=seeds, scores=scores, average=_estimate(random, middle, 0.25, 0.6, len(seeds)), parameters=PLAIN_MODEL,
        trained_parameters=PLAIN_MODEL if strategy == "instructions" else 0, relative=1.0,
        train_seconds=1500.0 if strategy == "instructions" else 0.0, peak_memory_mb=0.0, answer_ms=0.0, ledger={},
        draws={}, curves=(), by_cluster=averages, wordings=wordings, clean=clean, tuning_clusters=count, series=series,
    )  # fmt: skip


def _clean(random: np.random.Generator, rows: int, full: float, overlapping: int) -> Clean:
    if overlapping == rows:
        return Clean(rows=rows, overlapping=rows, full=full, clean=None, difference=None, interval=None)
    gap = float(random.uniform(-2, 0.5)) if overlapping else 0.0
    half = 0.8 if overlapping else 0.0
    return Clean(
        rows=rows, overlapping=overlapping, full=full, clean=full + gap, difference=gap,
        interval=(gap - half, gap + half),
    )  # fmt: skip


def _held_out(cluster: str, tasks: tuple) -> HeldOut:
    tested = tuple(task[0] for task in tasks if task[1] == cluster)
    return HeldOut(
        clusters=(cluster,),
        tasks=tested,
        trained_on=("sst2", "imdb", "ag_news", "dbpedia", "trec", "cola", "tweet_irony", "boolq", "dream"),
        left_out={
            "qqp": f"belongs to paraphrase, declared excluded with {cluster}",
            "sick_r": f"texts from SICK, as in the held-out {', '.join(tested)}; "
            "has no split 'train'; for evaluation only",
        },
        dropped={"sst2": 0, "dream": 117, "boolq": 1204},
        seal="5f3c" * 16,
    )


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
            p = min(1.0, float(np.exp(-3.3 * abs(gap))))
            # Adjusted so that what is significant is what leaves out 0.
            holm = 0.01 if low > 0 or high < 0 else 1.0
            found.append(Difference(a=a.id, b=b.id, difference=gap, interval=(low, high), p=p, holm=holm))
    return tuple(found)
