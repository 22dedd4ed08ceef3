"""The report of a comparison as one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib.resources import files
from pathlib import Path

import numpy as np
import yaml
from jinja2 import StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup

from multigraft.files import write_text
from multigraft.reports import (
    baselines,
    certificates,
    clusters,
    figures,
    histories,
    pareto,
    plots,
    sharing,
    svg,
    tables,
    wordings,
)
from multigraft.reports.board import board, ordered
from multigraft.reports.series import over_clusters
from multigraft.reports.summary import findings
from multigraft.reports.task_map import picture
from multigraft.reports.verdicts import names, verdict
from multigraft.strategies.results import Difference, Results

WIDE, NARROW, PANEL = 900, 343, 343  # pixels; a phone of 375 has 343 between its margins


def render(results: Results, unseen: Results | None = None) -> str:
    """The page as HTML: no scripts but the sorting of its tables, no resources from elsewhere.

    unseen: who answers for tasks that nothing was trained on.
    """
    rows = [(names(results)[row.id], row) for row in ordered(results)]
    return _page().render(
        results=results,
        unseen=unseen
        and {
            "results": unseen,
            "board": board(unseen),
            "findings": findings(unseen),
            "averages": _both(plots.averages, unseen),
            "sources": sharing.sources(unseen),
        },
        board=board(results),
        findings=findings(results),
        averages=_both(plots.averages, results),
        by_task=plots.by_task(results, PANEL),
        by_cluster=plots.by_cluster(results, PANEL),
        series=[_both(partial(_series, name), results) for name in clusters.series(results)],
        key=[(group, *svg.SIGNS[group]) for group in svg.SIGNS if any(row.strategy == group for row in results.rows)],
        sizes=_both(pareto.sizes, results) if any(row.relative != 1 for row in results.rows) else None,
        times=_both(pareto.times, results) if len(results.rows) > 1 else None,
        changes=sharing.changes(results),
        sources=sharing.sources(results),
        draws=histories.draws(results, PANEL),
        curves=histories.curves(results, PANEL),
        wording_head=wordings.HEAD,
        wordings=[(name, wordings.wording_rows(row)) for name, row in rows if row.wordings],
        clean_head=certificates.CLEAN,
        cleaned=[
            (f"{name}: {certificates.overlaps(row)}", certificates.clean_rows(row)) for name, row in rows if row.clean
        ],
        certificates=certificates,
        task_map=_both(_task_map, results) if results.task_map else None,
        differences=[_difference(results, found) for found in results.differences],
        ledger_head=tables.LEDGER,
        ledgers=[(name, tables.ledger_rows(results, row.id)) for name, row in rows if row.ledger],
        known={name: of for name, of in baselines.BASELINES.items() if baselines.known(results.tasks, name)},
        settings=yaml.safe_dump(_yamlable(results.settings), sort_keys=False, allow_unicode=True, width=100).strip(),
        figures=figures,
        style=_part("style.css"),
    )


def write(results: Results, path: Path, unseen: Results | None = None) -> None:
    """Write the page of `results` to `path`, whole or not at all."""
    write_text(path, render(results, unseen))


def _part(name: str) -> Markup:
    return Markup(files("multigraft.reports").joinpath(name).read_text(encoding="utf-8"))


@cache
def _page() -> Template:
    environment = SandboxedEnvironment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_part("page.html.j2"))


def _both(plot: Callable[[Results, int], Markup], results: Results) -> Markup:
    """A plot for wide and for narrow screens; the style sheet shows one of them."""
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(
        plot(results, WIDE), plot(results, NARROW)
    )


def _series(name: str, results: Results, width: int) -> Markup:
    return over_clusters(results, clusters.series(results)[name], width)


def _task_map(results: Results, width: int) -> Markup:
    alike = results.task_map
    assert alike is not None
    return picture(alike.tasks, np.array(alike.similarity), alike.what, width)


def _difference(results: Results, found: Difference) -> tuple[str, ...]:
    name = names(results)
    said = {"higher": "above", "lower": "below", "same": "not significant", "untested": figures.NONE}[verdict(found)]
    ps = map(figures.p_value, (found.p, found.holm))
    a, b = name.get(found.a, found.a), name.get(found.b, found.b)
    return a, b, figures.signed(found.difference, 2), figures.interval(found.interval, 2) or figures.NONE, *ps, said


def _yamlable(value: object) -> object:
    """`value` with what YAML has no plain form for turned into text."""
    if isinstance(value, dict):
        return {str(key): _yamlable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_yamlable(inner) for inner in value]
    if isinstance(value, float) and not figures.finite(value):
        return figures.NONE
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
