from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from multigraft.reports import html
from multigraft.strategies.results import Results

Example = Callable[..., Results]
EVIL = "<script>alert('x')</script>\"&{{ 7 * 7 }}"
VOID = {"meta", "link", "br", "img"}


class Balance(HTMLParser):
    """Checks that tags nest, and collects tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open[-1:]):
            self.text.append(data)


def numbers(results: Results) -> Results:
    """The record with some figures that are no numbers."""
    nan = float("nan")
    row = results.rows[0]
    lost = row.average.model_copy(update={"mean": nan, "stderr": nan, "interval": (nan, nan)})
    curve = row.curves[0].model_copy(update={"train_loss": (nan,) * len(row.curves[0].step)})
    changes = {"average": lost, "scores": row.scores | {"mnli": lost}, "train_seconds": nan, "relative": float("inf")}
    broken = row.model_copy(update=changes | {"peak_memory_mb": nan, "answer_ms": nan, "curves": (curve,)})
    pair = results.differences[0].model_copy(update={"difference": nan, "interval": (nan, nan), "p": nan})
    task = results.tasks[0].model_copy(update={"majority": nan, "bag_of_words": nan})
    changes = {"differences": (pair, *results.differences[1:]), "tasks": (task, *results.tasks[1:])}
    return results.model_copy(update=changes | {"rows": (broken, *results.rows[1:]), "settings": {"lr": nan}})


def test_the_same_record_gives_the_same_page(example: Example, tmp_path: Path) -> None:
    html.write(example(), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html.render(example())


def test_the_page_is_complete_and_well_formed(example: Example) -> None:
    results = example()
    page = Balance(html.render(results))
    text = " ".join(page.text)
    assert page.tags.count("h1") == 1
    for heading in ("In words", "Scoreboard", "Scores with", "Parameters against", "Draws", "Learning", "To repeat it"):
        assert heading in text
    # averages and sizes twice (wide and narrow), then one plot per task, per schedule and per way
    assert page.tags.count("svg") == 2 + 2 + 8 + 3 + 10
    assert sum(name == "aria-label" for name, _ in page.attributes) >= page.tags.count("svg")
    assert text.count("lr: 5.0e-05") == 1


def test_it_needs_nothing_from_elsewhere(example: Example) -> None:
    page = html.render(example())
    assert "://" not in page
    assert "@import" not in page
    assert "url(" not in page
    assert not [pair for pair in Balance(page).attributes if pair[0] in ("src", "href", "srcset", "data", "action")]


def test_every_string_of_the_record_is_escaped(example: Example) -> None:
    results = example(tasks=2, rows=2, epochs=3)

    def renamed(by_task: dict) -> dict:
        return {EVIL if task == "mnli" else task: value for task, value in by_task.items()}

    task = results.tasks[0].model_copy(update=dict.fromkeys(("name", "cluster", "metric", "split"), EVIL))
    rows = tuple(
        row.model_copy(
            update={"label": EVIL, "schedule": EVIL + row.id, "id": EVIL + row.id}
            | {name: renamed(getattr(row, name)) for name in ("scores", "ledger", "draws")}
        )
        for row in results.rows
    )
    texts = dict.fromkeys(("title", "suite", "backbone", "created"), EVIL)
    changes = {"tasks": (task, results.tasks[1]), "rows": rows, "machine": {EVIL: EVIL}, "settings": {EVIL: EVIL}}
    page = html.render(results.model_copy(update=texts | changes))
    assert page.count("<script") == 1
    assert "alert('x')</script" not in page
    assert Balance(page).tags.count("script") == 1
    assert "".join(Balance(page).text).count(EVIL) > 20


def test_no_figure_is_shown_as_nan(example: Example) -> None:
    page = html.render(numbers(example()))
    shown = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.S)
    assert not re.search(r"\b(nan|inf|None|undefined)\b", shown)
    Balance(page)


@pytest.mark.parametrize(
    "size",
    [
        {"rows": 1},
        {"tasks": 1},
        {"seeds": 1},
        {"epochs": 0},
        {"epochs": 1},
        {"rows": 1, "tasks": 1, "seeds": 1, "epochs": 0},
        {"rows": 0},
        {"rows": 0, "tasks": 0},
    ],
)
def test_small_comparisons_have_a_page_too(example: Example, size: dict[str, int]) -> None:
    page = html.render(example(**size))
    Balance(page)
    assert not re.search(r"[ \"]nan\b", page)
    assert ("No learning curves were recorded." in page) == (size.get("epochs") == 0 or size.get("rows") == 0)
    if size.get("seeds") == 1:
        assert "±" not in page


def test_coordinates_stay_inside_their_picture(example: Example) -> None:
    page = html.render(example())
    for match in re.finditer(r"<svg[^>]*viewBox=\"0 0 ([\d.]+) ([\d.]+)\".*?</svg>", page, re.S):
        width, height = float(match[1]), float(match[2])
        for x in re.findall(r'\b(?:x|x1|x2|cx)="(-?[\d.]+)"', match[0]):
            assert -1 <= float(x) <= width + 1
        for y in re.findall(r'\b(?:y|y1|y2|cy)="(-?[\d.]+)"', match[0]):
            assert -1 <= float(y) <= height + 1
