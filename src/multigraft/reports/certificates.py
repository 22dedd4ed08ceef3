"""What the models cannot have seen: certificates of held-out clusters, and scores without rows that overlap."""

from __future__ import annotations

from multigraft.reports import figures
from multigraft.reports.verdicts import side
from multigraft.strategies.results import Clean, HeldOut, Row

CLEAN = ("task", "rows", "overlapping", "all rows", "clean rows", "difference", "95 % interval", "verdict")
_VERDICTS = {"higher": "clean rows higher", "lower": "clean rows lower", "same": "not significant"}


def certificate(held: HeldOut) -> str:
    """What a certificate says, as one line."""
    tested = f"{len(held.tasks)} task{'s' if len(held.tasks) != 1 else ''} tested"
    fewer = sum(held.dropped.values())
    trained = f"{len(held.trained_on)} trained on" + (f" less {figures.number(fewer, 0)} rows" if fewer else "")
    clusters = figures.listing(held.clusters)
    return f"{clusters} held out: {tested}, {trained}, {len(held.left_out)} left out; seal {held.seal[:8]}"


def dropped(held: HeldOut) -> list[tuple[str, str]]:
    """Tasks of which training rows were taken out, most rows first, and how many."""
    counts = sorted(held.dropped.items(), key=lambda pair: -pair[1])
    return [(task, figures.number(count, 0)) for task, count in counts if count]


def overlaps(row: Row) -> str:
    """How many evaluation rows overlap with training texts, over the tasks of a row."""
    found, rows = sum(c.overlapping for c in row.clean.values()), sum(c.rows for c in row.clean.values())
    return f"{figures.number(found, 0)} of {figures.number(rows, 0)} rows overlap"


def clean_rows(row: Row) -> list[tuple[str, ...]]:
    """The scores of a row with and without rows that overlap, as text in the order of `CLEAN`."""
    return [
        (
            task,
            figures.number(clean.rows, 0),
            figures.number(clean.overlapping, 0),
            figures.number(clean.full),
            figures.number(clean.clean),
            figures.signed(clean.difference),
            figures.interval(clean.interval) or figures.NONE,
            _verdict(clean),
        )
        for task, clean in row.clean.items()
    ]


def _verdict(clean: Clean) -> str:
    if not clean.overlapping:
        return "no row overlaps"
    return "every row overlaps" if clean.clean is None else _VERDICTS.get(side(clean.interval), figures.NONE)
