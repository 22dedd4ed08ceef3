"""The findings in words, each derived from the record and worded no stronger than its intervals allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from multigraft.reports import figures
from multigraft.reports.figures import finite, listing
from multigraft.reports.verdicts import Verdict, below_best, best, difference, names, verdict
from multigraft.strategies.results import Estimate, Results, Row


@dataclass(frozen=True)
class Finding:
    """One question, the short answer of the data, and what stands behind it."""

    title: str
    answer: str
    text: str


def findings(results: Results) -> list[Finding]:
    """The summary of a comparison; questions that the record cannot answer are left out."""
    asked: tuple[Callable[[Results], Finding | None], ...] = (
        _average,
        _against_separate,
        _worst_task,
        _parameters,
        _time,
        _against_words,
        _certainty,
    )
    return [found for ask in asked if (found := ask(results))]


def _average(results: Results) -> Finding | None:
    top = best(results)
    if top is None:
        return None
    answer = f"{names(results)[top.id]}: {figures.estimate(top.average)}"
    if len(results.rows) == 1:
        return Finding("Average", answer, "It is the only way that was measured.")
    return Finding("Best average", answer, _sentences(_compared(results, top)))


def _against_separate(results: Results) -> Finding | None:
    separate = _separate(results)
    if separate is None or len(results.rows) == 1:
        return None
    found = _compared(results, separate)
    counts = (
        (len(found["higher"]), "significantly above"),
        (len(found["lower"]), "significantly below"),
        (len(found["same"]), "not significantly different"),
        (len(found["untested"]), "not compared"),
    )
    answer = ", ".join(f"{count} {relation}" for count, relation in counts if count)
    text = f"The average of {names(results)[separate.id]} is {figures.estimate(separate.average)}."
    return Finding("Sharing against separate models", answer, f"{text} {_sentences(found)}")


def _separate(results: Results) -> Row | None:
    return next((row for row in results.rows if row.strategy == "separate"), None)


def _compared(results: Results, pivot: Row) -> dict[Verdict, list[str]]:
    """Names of all other rows by how their average compares with that of `pivot`, differences that count included."""
    found: dict[Verdict, list[str]] = {"higher": [], "lower": [], "same": [], "untested": []}
    for row in results.rows:
        if row.id != pivot.id:
            pair = difference(results, row.id, pivot.id)
            said = verdict(pair)
            by = f" ({figures.signed(pair.difference)})" if pair and said in ("higher", "lower") else ""
            found[said].append(names(results)[row.id] + by)
    return found


def _sentences(found: dict[Verdict, list[str]]) -> str:
    said = (
        ("Significantly above it", found["higher"]),
        ("Significantly below it", found["lower"]),
        ("Not significantly different", found["same"]),
        ("Not compared with it", found["untested"]),
    )
    return " ".join(f"{relation}: {listing(rows)}." for relation, rows in said if rows)


def _worst_task(results: Results) -> Finding | None:
    lows = {row.id: low for row in results.rows if (low := _lowest(row))}
    if len(results.tasks) < 2 or len(lows) < 2:
        return None
    name = names(results)
    first, second = sorted(lows, key=lambda row: -lows[row][1].mean)[:2]
    text = (
        f"The lowest score of any task; next is {name[second]}: {_on(lows[second])}. "
        f"{_overlap(lows[first][1], lows[second][1])} {_largest_loss(results)}"
    )
    return Finding("Best worst task", f"{name[first]}: {_on(lows[first])}", text.strip())


def _lowest(row: Row) -> tuple[str, Estimate] | None:
    scores = [(task, value) for task, value in row.scores.items() if finite(value.mean)]
    return min(scores, key=lambda pair: pair[1].mean, default=None)


def _on(low: tuple[str, Estimate]) -> str:
    return f"{figures.estimate(low[1])} on {low[0]}"


def _overlap(a: Estimate, b: Estimate) -> str:
    if a.interval is None or b.interval is None:
        return "Without intervals this shows no difference."
    if a.interval[0] > b.interval[1] or b.interval[0] > a.interval[1]:
        return "The two intervals do not overlap."
    return "The two intervals overlap, so this shows no difference."


def _largest_loss(results: Results) -> str:
    separate = _separate(results)
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
        f"Measured against {names(results)[separate.id]}, task by task, the least favourable change is mildest with "
        f"{names(results)[row_id]}: {figures.signed(change)} on {task}; single tasks were not tested for significance."
    )


def _parameters(results: Results) -> Finding | None:
    rows = [row for row in results.rows if finite(row.relative)]
    if not rows:
        return None
    name, least = names(results), min(rows, key=lambda row: row.relative)
    answer = f"{name[least.id]}: {figures.times(least.relative)} one model"
    text = f"It answers every task with {figures.number(least.parameters, 0)} parameters."
    equals = [row for row in rows if below_best(results, row) == "same"]
    if equals and len(rows) > 1:
        small = min(equals, key=lambda row: row.relative)
        text += (
            " The smallest among the best and those not significantly below it is "
            f"{name[small.id]}: {figures.times(small.relative)}, average {figures.estimate(small.average)}."
        )
    return Finding("Fewest parameters", answer, text)


def _time(results: Results) -> Finding | None:
    answer, answering, small = (
        _least(results, "train_seconds", figures.duration),
        _least(results, "answer_ms", lambda value: f"{figures.milliseconds(value)} ms"),
        _least(results, "peak_memory_mb", figures.memory),
    )
    if len(results.rows) < 2 or not answer:
        return None
    text = f"Shortest time to answer one text for all tasks: {answering}. Least memory: {small}."
    return Finding("Shortest training", answer, f"{text} Times have no intervals: small differences mean nothing.")


def _least(results: Results, attribute: str, wording: Callable[[float], str]) -> str:
    figure = {row.id: getattr(row, attribute) for row in results.rows if finite(getattr(row, attribute))}
    row = min(figure, key=lambda row: figure[row], default=None)
    return f"{names(results)[row]}, {wording(figure[row])}" if row is not None else ""


def _against_words(results: Results) -> Finding | None:
    if not results.tasks or not results.rows:
        return None
    bar = sum(task.bag_of_words for task in results.tasks) / len(results.tasks)
    level = [names(results)[row.id] for row in results.rows if not _above(row.average, bar)]
    answer = f"not shown to be above it: {listing(level)}" if level else "every way is above it"
    hard = [
        task.name
        for task in results.tasks
        if not any(task.name in row.scores and _above(row.scores[task.name], task.bag_of_words) for row in results.rows)
    ]
    text = f"A bag of words averages {figures.number(bar)}; a way counts as above when its whole interval is."
    text += f" No way is shown to beat it on {listing(hard)}." if hard else " On every task some way beats it."
    return Finding("Against a bag of words", answer, text)


def _above(value: Estimate, bar: float) -> bool:
    return value.interval is not None and value.interval[0] > bar


def _certainty(results: Results) -> Finding | None:
    pairs = len(results.differences)
    if not pairs or not results.rows:
        return None
    told = sum(verdict(pair) in ("higher", "lower") for pair in results.differences)
    counts = sorted({len(row.seeds) for row in results.rows})
    text = (
        "Significant means that the 95 % paired bootstrap interval of the difference leaves out 0. It is not corrected "
        f"for the number of comparisons: with no true difference anywhere, about {0.05 * pairs:.1f} would be. "
        f"Seeds per way: {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))}."
    )
    if counts[0] == 1:
        text += " With one seed the intervals hold for the evaluation examples, not for another training run."
    return Finding("How sure", f"{told} of {pairs} pairs of averages differ significantly", text)
