"""The findings in words, each derived from the record and worded no stronger than its intervals allow."""

from __future__ import annotations

from dataclasses import dataclass

from multigraft.reports import figures
from multigraft.reports.figures import finite, listing
from multigraft.reports.verdicts import Verdict, below_best, best, difference, names, verdict
from multigraft.strategies.results import Estimate, Results, Row


@dataclass(frozen=True)
class Finding:
    """One question and what the data say to it."""

    title: str
    text: str


def findings(results: Results) -> list[Finding]:
    """The summary of a comparison; questions that the record cannot answer are left out."""
    parts = (
        ("Average", _average(results)),
        ("Against separate models", _against_separate(results)),
        ("Worst task", _worst_task(results)),
        ("Parameters", _parameters(results)),
        ("Time and memory", _time(results)),
        ("Against a bag of words", _against_words(results)),
        ("How sure", _certainty(results)),
    )
    return [Finding(title, text) for title, text in parts if text]


def _average(results: Results) -> str:
    top = best(results)
    if top is None:
        return ""
    name = names(results)
    if len(results.rows) == 1:
        return f"{name[top.id]} is the only way measured: {figures.estimate(top.average)}."
    text = f"The highest average is that of {name[top.id]}: {figures.estimate(top.average)}."
    return f"{text} {_sorted_out(results, top, 'It is')}".strip()


def _against_separate(results: Results) -> str:
    separate = next((row for row in results.rows if row.strategy == "separate"), None)
    if separate is None or len(results.rows) == 1:
        return ""
    text = f"{names(results)[separate.id]} average {figures.estimate(separate.average)}."
    return f"{text} {_sorted_out(results, separate, 'They are')}".strip()


def _sorted_out(results: Results, pivot: Row, subject: str) -> str:
    """Sentences that say how the average of `pivot` compares with every other row."""
    name = names(results)
    found: dict[Verdict, list[str]] = {"higher": [], "lower": [], "same": [], "untested": []}
    for row in results.rows:
        if row.id == pivot.id:
            continue
        pair = difference(results, pivot.id, row.id)
        said = verdict(pair)
        by = f" ({figures.signed(pair.difference)} {figures.interval(pair.interval)})" if pair else ""
        found[said].append(name[row.id] + (by if said in ("higher", "lower") else ""))
    sentences = (
        ("significantly above", found["higher"]),
        ("significantly below", found["lower"]),
        ("not significantly different from", found["same"]),
        ("not compared with", found["untested"]),
    )
    return " ".join(f"{subject} {relation} {listing(rows)}." for relation, rows in sentences if rows)


def _worst_task(results: Results) -> str:
    lows = {row.id: low for row in results.rows if (low := _lowest(row))}
    if len(results.tasks) < 2 or len(lows) < 2:
        return ""
    name = names(results)
    first, second = sorted(lows, key=lambda row: -lows[row][1].mean)[:2]
    text = (
        f"The lowest score of any task is highest with {name[first]}: {_on(lows[first])}; "
        f"next is {name[second]}: {_on(lows[second])}. {_overlap(lows[first][1], lows[second][1])}"
    )
    return f"{text} {_largest_loss(results)}".strip()


def _lowest(row: Row) -> tuple[str, Estimate] | None:
    scores = [(task, value) for task, value in row.scores.items() if finite(value.mean)]
    return min(scores, key=lambda pair: pair[1].mean, default=None)


def _on(low: tuple[str, Estimate]) -> str:
    return f"{figures.estimate(low[1])} on {low[0]}"


def _overlap(a: Estimate, b: Estimate) -> str:
    if a.interval is None or b.interval is None:
        return "Without intervals this shows no difference."
    if a.interval[0] > b.interval[1] or b.interval[0] > a.interval[1]:
        return "The intervals do not overlap."
    return "The intervals overlap, which shows no difference."


def _largest_loss(results: Results) -> str:
    separate = next((row for row in results.rows if row.strategy == "separate"), None)
    if separate is None:
        return ""
    losses = []
    for row in results.rows:
        changes = [
            (value.mean - separate.scores[task].mean, task)
            for task, value in row.scores.items()
            if task in separate.scores and finite(value.mean) and finite(separate.scores[task].mean)
        ]
        if row.id != separate.id and changes:
            losses.append((*min(changes), row.id))
    if not losses:
        return ""
    change, task, row_id = max(losses)
    return (
        f"Measured against {names(results)[separate.id]}, the least favourable change of any task is "
        f"{figures.signed(change)} ({task}) with {names(results)[row_id]}, the mildest of all ways; "
        "single tasks were not tested for significance."
    )


def _parameters(results: Results) -> str:
    rows = [row for row in results.rows if finite(row.relative)]
    if not rows:
        return ""
    name, least = names(results), min(rows, key=lambda row: row.relative)
    size = f"{figures.times(least.relative)} one model ({figures.number(least.parameters, 0)})"
    if len(rows) == 1:
        return f"{name[least.id]} needs {size}."
    text = f"{name[least.id]} needs the fewest to answer every task: {size}."
    equals = [row for row in rows if below_best(results, row) == "same"]
    if not equals:
        return text
    small = min(equals, key=lambda row: row.relative)
    return (
        f"{text} The smallest among the best and those not significantly below it is "
        f"{name[small.id]}: {figures.times(small.relative)}, average {figures.estimate(small.average)}."
    )


def _time(results: Results) -> str:
    name = names(results)
    parts = []
    for sentence, attribute, wording in (
        ("Shortest training", "train_seconds", figures.duration),
        ("shortest time to answer one text for all tasks", "answer_ms", lambda ms: f"{figures.milliseconds(ms)} ms"),
        ("least memory", "peak_memory_mb", figures.memory),
    ):
        rows = [row for row in results.rows if finite(getattr(row, attribute))]
        if rows:
            least = min(rows, key=lambda row: getattr(row, attribute))
            parts.append(f"{sentence}: {name[least.id]}, {wording(getattr(least, attribute))}")
    if not parts or len(results.rows) < 2:
        return ""
    return "; ".join(parts) + ". Times have no intervals: small differences mean nothing."


def _against_words(results: Results) -> str:
    if not results.tasks or not results.rows:
        return ""
    bar = sum(task.bag_of_words for task in results.tasks) / len(results.tasks)
    name = names(results)
    level = [name[row.id] for row in results.rows if not _above(row.average, bar)]
    text = f"A bag of words averages {figures.number(bar)}. "
    text += f"Not shown to be above it: {listing(level)}." if level else "Every way is above it, interval and all."
    hard = [
        task.name
        for task in results.tasks
        if not any(task.name in row.scores and _above(row.scores[task.name], task.bag_of_words) for row in results.rows)
    ]
    return f"{text} No way is shown to beat it on {listing(hard)}." if hard else text


def _above(value: Estimate, bar: float) -> bool:
    return value.interval is not None and value.interval[0] > bar


def _certainty(results: Results) -> str:
    parts = []
    pairs = len(results.differences)
    told = sum(verdict(pair) in ("higher", "lower") for pair in results.differences)
    if pairs:
        parts.append(
            f"Of {pairs} pairs of averages compared, {told} differ significantly (95 % paired bootstrap interval, not "
            f"corrected for the number of comparisons: with no true difference anywhere, about {0.05 * pairs:.1f} would)."
        )
    counts = sorted({len(row.seeds) for row in results.rows})
    if counts:
        seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        parts.append(f"Seeds per way: {seeds}.")
        if counts[0] == 1:
            parts.append("With one seed the intervals hold for the evaluation examples, not for another training run.")
    return " ".join(parts)
