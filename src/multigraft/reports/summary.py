"""The findings in words, each derived from the record and worded no stronger than its intervals allow."""

from __future__ import annotations

from collections.abc import Callable

from multigraft.reports import baselines, figures, sharing, wordings, zero_shot
from multigraft.reports.figures import finite, listing
from multigraft.reports.verdicts import (
    LEVEL,
    Finding,
    above,
    below_best,
    best,
    compared,
    counted,
    first,
    listed,
    names,
    overlapping,
    verdict,
)
from multigraft.strategies.results import Estimate, Results, Row


def findings(results: Results) -> list[Finding]:
    """The summary of a comparison; questions that the record cannot answer are left out."""
    asked: tuple[Callable[[Results], Finding | None], ...] = (
        _recommendation,
        _average,
        sharing.finding,
        _against_separate,
        _against_prompts,
        zero_shot.against_untuned,
        _worst_task,
        _parameters,
        _time,
        zero_shot.against_guessing,
        _against_words,
        wordings.finding,
        _certainty,
    )
    return [found for ask in asked if (found := ask(results))]


def _recommendation(results: Results) -> Finding | None:
    """The smallest of the ways that are not shown to be worse than the best."""
    top = best(results)
    rows = [row for row in results.rows if below_best(results, row) == "same" and not row.bound]
    if top is None or len(results.rows) < 2 or not rows:
        return None
    name, small = names(results), min(rows, key=lambda row: (row.parameters, -row.average.mean))
    quick = min(rows, key=lambda row: row.answer_ms if figures.measured(row.answer_ms) else float("inf"))
    cost = _cost(small)
    text = f"{cost[0].upper()}{cost[1:]}. "
    if small is top:
        text += "It has the best average, and of those that are not significantly below it none is smaller."
    else:
        text += (
            f"The best average has {name[top.id]} ({_cost(top)}), which is not significantly above it; of all "
            "for which that holds, it is the smallest."
        )
    if quick is not small and figures.measured(quick.answer_ms):
        text += f" The quickest answers of these gives {name[quick.id]} ({_cost(quick)})."
    bar = baselines.average(results.tasks, "bag of words")
    if bar is not None and not above(top.average, bar):
        text += f" It is not shown to be above a bag of words ({figures.number(bar)}): train longer, or on more rows."
    return Finding("What to take", name[small.id], text)


def _cost(row: Row) -> str:
    parts = [f"average {figures.estimate(row.average)}", f"{figures.times(row.relative)} one model"]
    if figures.measured(row.answer_ms):
        parts.append(f"{figures.milliseconds(row.answer_ms)} ms for one text and all tasks")
    return ", ".join(parts)


def _average(results: Results) -> Finding | None:
    top = best(results)
    if top is None:
        return None
    answer = f"{names(results)[top.id]}: {figures.estimate(top.average)}"
    if len(results.rows) == 1:
        return Finding("Average", answer, "It is the only way that was measured.")
    return Finding("Best average", answer, listed(compared(results, top, results.rows)))


def _against_separate(results: Results) -> Finding | None:
    separate = first(results, "separate")
    if separate is None or len(results.rows) == 1:
        return None
    found = compared(results, separate, results.rows)
    text = f"The average of {names(results)[separate.id]} is {figures.estimate(separate.average)}. {listed(found)}"
    return Finding("Sharing against separate models", counted(found), text)


def _against_prompts(results: Results) -> Finding | None:
    """What starting from other tasks gains over prompts that start from words."""
    plain = first(results, "prompt")
    rows = tuple(row for row in results.rows if row.strategy in ("prompt", "transfer") and row is not plain)
    if plain is None or not any(row.strategy == "transfer" for row in rows):
        return None
    found = compared(results, plain, rows)
    text = f"The average of {names(results)[plain.id]} is {figures.estimate(plain.average)}. {listed(found)}"
    return Finding("Transfer against prompts from words", counted(found), text)


def _worst_task(results: Results) -> Finding | None:
    lows = {row.id: low for row in results.rows if (low := _lowest(row))}
    if len(results.tasks) < 2 or len(lows) < 2:
        return None
    name = names(results)
    top, next_ = sorted(lows, key=lambda row: -lows[row][1].mean)[:2]
    text = (
        f"The lowest score of any task; next is {name[next_]}: {_on(lows[next_])}. "
        f"{_overlap(lows[top][1], lows[next_][1])} {_largest_loss(results)}"
    )
    return Finding("Best worst task", f"{name[top]}: {_on(lows[top])}", text.strip())


def _lowest(row: Row) -> tuple[str, Estimate] | None:
    scores = [(task, value) for task, value in row.scores.items() if finite(value.mean)]
    return min(scores, key=lambda pair: pair[1].mean, default=None)


def _on(low: tuple[str, Estimate]) -> str:
    return f"{figures.estimate(low[1])} on {low[0]}"


def _overlap(a: Estimate, b: Estimate) -> str:
    together = overlapping(a, b)
    if together is None:
        return "Without intervals this shows no difference."
    return (
        "The two intervals overlap, so this shows no difference." if together else "The two intervals do not overlap."
    )


def _largest_loss(results: Results) -> str:
    separate = first(results, "separate")
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
    text = f"It answers every task with {figures.number(least.parameters, 0)} parameters."
    if len(rows) > 1 and all(row.parameters == least.parameters for row in rows):
        return Finding("Fewest parameters", f"the same in every way: {figures.times(least.relative)} one model", text)
    answer = f"{name[least.id]}: {figures.times(least.relative)} one model"
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
    told = [f"Shortest time to answer one text for all tasks: {answering}."] if answering else []
    told += [f"Least memory: {small}."] if small else []
    text = " ".join([*told, "Times have no intervals: small differences mean nothing."])
    return Finding("Shortest training", answer, text)


def _least(results: Results, attribute: str, wording: Callable[[float], str]) -> str:
    # What costs nothing was not done or not measured.
    figure = {row.id: getattr(row, attribute) for row in results.rows if figures.measured(getattr(row, attribute))}
    row = min(figure, key=lambda row: figure[row], default=None)
    return f"{names(results)[row]}, {wording(figure[row])}" if row is not None else ""


def _against_words(results: Results) -> Finding | None:
    bars = baselines.known(results.tasks, "bag of words")
    if not bars or not results.rows:
        return None
    hard = [
        task for task, bar in bars.items() if not any(above(row.scores[task], bar) for row in _on_task(results, task))
    ]
    average = baselines.average(results.tasks, "bag of words")
    rule = "a way counts as above when its whole interval is."
    if average is not None:
        level = [names(results)[row.id] for row in results.rows if not above(row.average, average)]
        answer = f"not shown to be above it: {listing(level)}" if level else "every way is above it"
        if len(level) == len(results.rows) > 1:
            answer = "no way is shown to be above it"
        text = f"A bag of words averages {figures.number(average)}; {rule}"
    else:
        answer = f"some way is above it on {len(bars) - len(hard)} of the {len(bars)} tasks that have it"
        text = rule.capitalize()
    text += f" No way is shown to beat it on {listing(hard)}." if hard else " On every task some way beats it."
    if any(row.strategy in zero_shot.STRATEGIES for row in results.rows):
        text += " It is trained on the rows of the task itself, which zero-shot ways have never seen."
    return Finding("Against a bag of words", answer, text)


def _on_task(results: Results, task: str) -> list[Row]:
    return [row for row in results.rows if task in row.scores]


def _certainty(results: Results) -> Finding | None:
    pairs = len(results.differences)
    if not pairs or not results.rows:
        return None
    told = sum(verdict(pair) in ("higher", "lower") for pair in results.differences)
    # What was not trained has no seeds to differ in.
    trained = [row for row in results.rows if row.strategy != "untuned"] or results.rows
    counts = sorted({len(row.seeds) for row in trained})
    text = (
        f"Significant means p below {LEVEL} in a paired bootstrap, corrected for all {pairs} pairs by Holm's method: "
        "with no true difference anywhere, the chance of calling any one significant is 5 %. "
        f"Seeds per way: {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))}."
    )
    if counts[0] == 1:
        text += " With one seed the intervals hold for the evaluation examples, not for another training run."
    return Finding("How sure", f"{told} of {pairs} pairs of averages differ significantly", text)
