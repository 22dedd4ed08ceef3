from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from multigraft.reports import html, svg
from multigraft.strategies.results import HeldOut, Results

Example = Callable[..., Results]
EVIL = "<script>alert('x')</script>\"&{{ 7 * 7 }}"
VOID = {"meta", "link", "br", "img", "wbr"}


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
    curves = tuple(c.model_copy(update={"train_loss": (nan,) * len(c.step)}) for c in row.curves[:1])
    changes = {
        "average": lost,
        "scores": row.scores | {"mnli": lost},
        "by_cluster": dict.fromkeys(row.by_cluster, lost),
        "train_seconds": nan,
        "relative": float("inf"),
    }
    broken = row.model_copy(update=changes | {"peak_memory_mb": nan, "answer_ms": nan, "curves": curves})
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
    # averages, sizes and times twice (wide and narrow), then one plot per task, per schedule and per way
    assert page.tags.count("svg") == 2 + 2 + 2 + 8 + 3 + 10
    assert sum(name == "aria-label" for name, _ in page.attributes) >= page.tags.count("svg")
    assert text.count("lr: 5.0e-05") == 1


SECTIONS = ("By held-out cluster", "Number of tuning clusters", "Wordings", "Held-out clusters", "Training texts that")


def test_instruction_tuning_has_its_own_sections(example: Example, instructed: Example) -> None:
    rendered = html.render(instructed())
    page = Balance(rendered)
    text = " ".join(page.text)
    assert "social_<wbr>iqa" in rendered  # long names may break in headings
    assert [heading for heading in SECTIONS if heading not in text] == []
    assert "Parameters against score" not in text  # nothing needs more than one model
    # averages, times and the series twice (wide and narrow), then one plot per task and per cluster
    assert page.tags.count("svg") == 2 + 2 + 2 + 9 + 3
    assert "5f3c" * 16 in text
    assert [heading for heading in SECTIONS if heading in html.render(example())] == []


def test_a_section_goes_with_what_it_shows(instructed: Example) -> None:
    results = instructed()
    for field, heading in (
        ("by_cluster", SECTIONS[0]), ("series", SECTIONS[1]), ("wordings", SECTIONS[2]), ("clean", SECTIONS[4])
    ):  # fmt: skip
        empty = None if field == "series" else {}
        rows = tuple(row.model_copy(update={field: empty}) for row in results.rows)
        page = html.render(results.model_copy(update={"rows": rows}))
        Balance(page)
        assert f">{heading}" not in page.replace("Wordings</dt>", "")
    page = html.render(results.model_copy(update={"held_out": ()}))
    assert f">{SECTIONS[3]}" not in page


def test_the_key_lists_the_groups_that_occur(example: Example, instructed: Example) -> None:
    def key(results: Results) -> list[str]:
        return re.findall(r'class="key g-(\w+)"', html.render(results))

    assert key(example()) == ["separate", "shared", "module"]
    assert key(instructed()) == ["untuned", "instructions"]
    both = instructed().model_copy(update={"rows": (*instructed().rows, *example(rows=1).rows)})
    assert key(both) == ["untuned", "separate", "instructions"]


def test_every_group_has_a_colour_in_light_dark_and_print_and_a_shape_of_its_own() -> None:
    style = html._part("style.css")
    for group in svg.SIGNS:
        assert style.count(f" --{group}: #") == 3
        assert f".g-{group} {{ --own: var(--{group}); }}" in style
    assert len({svg.mark(group, 0, 0) for group in svg.SIGNS}) == len({sign for sign, _ in svg.SIGNS.values()}) == 8


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


def test_every_string_about_instructions_is_escaped(instructed: Example) -> None:
    results = instructed()
    wordings = {EVIL: results.rows[0].wordings["rte"].model_copy(update={"by_template": {EVIL: 1.0}})}
    changes = {
        "wordings": wordings, "clean": {EVIL: results.rows[2].clean["rte"]}, "series": EVIL,
        "by_cluster": {EVIL: results.rows[0].average},
    }  # fmt: skip
    held = HeldOut(
        clusters=(EVIL,), tasks=(EVIL,), trained_on=(EVIL,), left_out={EVIL: EVIL}, dropped={EVIL: 1}, seal=EVIL
    )
    rows = tuple(row.model_copy(update=changes) for row in results.rows)
    page = html.render(results.model_copy(update={"rows": rows, "held_out": (held,)}))
    assert Balance(page).tags.count("script") == page.count("<script") == 1
    assert "".join(Balance(page).text).count(EVIL) > 20


@pytest.mark.parametrize("builder", ["example", "instructed"])
def test_no_figure_is_shown_as_nan(builder: str, request: pytest.FixtureRequest) -> None:
    page = html.render(numbers(request.getfixturevalue(builder)()))
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


@pytest.mark.parametrize("tasks", [1, 3, 6])
def test_fewer_clusters_and_no_texts_have_a_page_too(instructed: Example, tasks: int) -> None:
    page = html.render(instructed(tasks=tasks, seeds=1))
    Balance(page)
    assert "±" not in page


@pytest.mark.parametrize("builder", ["example", "instructed"])
def test_coordinates_stay_inside_their_picture(builder: str, request: pytest.FixtureRequest) -> None:
    page = html.render(request.getfixturevalue(builder)())
    for match in re.finditer(r"<svg[^>]*viewBox=\"0 0 ([\d.]+) ([\d.]+)\".*?</svg>", page, re.S):
        width, height = float(match[1]), float(match[2])
        for x in re.findall(r'\b(?:x|x1|x2|cx)="(-?[\d.]+)"', match[0]):
            assert -1 <= float(x) <= width + 1
        for y in re.findall(r'\b(?:y|y1|y2|cy)="(-?[\d.]+)"', match[0]):
            assert -1 <= float(y) <= height + 1
