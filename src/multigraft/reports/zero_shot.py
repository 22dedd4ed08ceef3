"""Findings on ways that answer tasks which they were not trained on: the untuned model, and one tuned on others."""

from __future__ import annotations

from multigraft.reports import baselines, figures
from multigraft.reports.clusters import clusters
from multigraft.reports.figures import finite, listing
from multigraft.reports.verdicts import Finding, above, compared, counted, first, listed, names, overlapping
from multigraft.strategies.results import Results, Row

STRATEGIES = ("untuned", "instructions")
_GUESSES = {"chance": "chance", "majority": "the majority"}


def against_untuned(results: Results) -> Finding | None:
    """Which tuned ways differ from the first untuned row, and on which held-out clusters; None without such rows."""
    untuned = first(results, "untuned")
    tuned = tuple(row for row in results.rows if row.strategy != "untuned")
    if untuned is None or not tuned:
        return None
    found = compared(results, untuned, tuned)
    text = f"The average of {names(results)[untuned.id]} is {figures.estimate(untuned.average)}. {listed(found)}"
    experts = any(row.strategy == "expert" for row in tuned)
    title = "Experts against the backbone alone" if experts else "Tuning against the untuned model"
    return Finding(title, counted(found), f"{text} {_by_cluster(results, untuned)}".strip())


def _by_cluster(results: Results, untuned: Row) -> str:
    """Gains and losses of the way that was trained on the most clusters. Its intervals are not paired ones."""
    rows = [row for row in results.rows if row.strategy == "instructions" and row.by_cluster]
    if not rows:
        return ""
    widest = max(rows, key=lambda row: row.tuning_clusters or 0)
    changes = []
    for cluster in clusters(results):
        after, before = widest.by_cluster.get(cluster), untuned.by_cluster.get(cluster)
        if after and before and finite(after.mean) and finite(before.mean):
            changes.append((after.mean - before.mean, cluster, overlapping(after, before)))
    clear = [(change, cluster) for change, cluster, together in changes if together is False]
    said = (
        ("up", [_change(*pair) for pair in clear if pair[0] > 0]),
        ("down", [_change(*pair) for pair in clear if pair[0] < 0]),
        ("no difference shown, as the two intervals overlap", [_change(d, c) for d, c, t in changes if t]),
        ("without intervals to judge by", [_change(d, c) for d, c, t in changes if t is None]),
    )
    parts = [f"{relation}: {listing(which)}" for relation, which in said if which]
    return f"By held-out cluster, {names(results)[widest.id]} – {'; '.join(parts)}." if parts else ""


def _change(difference: float, cluster: str) -> str:
    return f"{cluster} ({figures.signed(difference)})"


def against_guessing(results: Results) -> Finding | None:
    """Which zero-shot ways are above chance and the most common answer; None where there are no such ways."""
    rows = [row for row in results.rows if row.strategy in STRATEGIES]
    told = [pair for name in _GUESSES if rows and (pair := _against(results, rows, name))]
    if not told:
        return None
    answer = "; ".join(short for short, _ in told)
    text = f"A way counts as above when its whole interval is. {' '.join(long for _, long in told)}"
    return Finding("Against chance and majority", answer, text)


def _against(results: Results, rows: list[Row], name: str) -> tuple[str, str] | None:
    bars = baselines.known(results.tasks, name)
    if not bars:
        return None
    hard = [
        task
        for task, bar in bars.items()
        if not any(task in row.scores and above(row.scores[task], bar) for row in rows)
    ]
    tail = f"no way is shown to be above it on {listing(hard)}." if hard else "on every task some way is above it."
    average, called = baselines.average(results.tasks, name), _GUESSES[name]
    if average is None:
        answer = f"some way above {called} on {len(bars) - len(hard)} of the {len(bars)} tasks that have it"
        return answer, f"{called.capitalize()}: {tail}"
    level = [names(results)[row.id] for row in rows if not above(row.average, average)]
    answer = f"above {called}: {len(rows) - len(level)} of {len(rows)}"
    shown = f" not shown to be above it on average: {listing(level)};" if level else ""
    return answer, f"{called.capitalize()} averages {figures.number(average)}:{shown} {tail}"
