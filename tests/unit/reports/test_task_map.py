"""The task map: its order, scale and dendrogram, and that it can be read in both themes and by ear."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import dendrogram

from multigraft.errors import UserError
from multigraft.library.similarity import cluster
from multigraft.reports.task_map import MOST, Drawing, colours, picture, standalone, task_map

SVG = "{http://www.w3.org/2000/svg}"
PAIRS = np.array([[1, 0.1, 0.9, 0.2], [0.1, 1, 0.15, 0.8], [0.9, 0.15, 1, 0.25], [0.2, 0.8, 0.25, 1]])
NAMES = ["mnli", "sst2", "rte", "imdb"]


def made(count: int, seed: int = 0, offset: float = 0.0) -> tuple[list[str], np.ndarray]:
    vectors = np.random.default_rng(seed).standard_normal((count, 8)) + offset
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [f"task {i}" for i in range(count)], vectors @ vectors.T


def elements(drawn: str, tag: str, class_: str) -> list[ElementTree.Element]:
    """Elements of one tag inside the groups of one class."""
    groups = [g for g in ElementTree.fromstring(drawn).iter(f"{SVG}g") if g.get("class") == class_]
    return [element for group in groups for element in group.iter(SVG + tag)]


@given(st.integers(1, 24), st.integers(0, 9), st.sampled_from([0.0, 2.0]))
def test_every_value_stands_in_cluster_order(count: int, seed: int, offset: float) -> None:
    names, similarity = made(count, seed, offset)
    shown = task_map(names, similarity)
    places = [names.index(name) for name in shown.names]
    assert places == cluster(similarity).order
    assert (shown.values == similarity[np.ix_(places, places)]).all()
    shades = np.vectorize(shown.shade, otypes=[float])(shown.values)
    assert ((shades >= 0) & (shades <= 1)).all()
    if count > 2:
        assert shown.diverging == (similarity.min() < 0)
        assert shades[~np.eye(count, dtype=bool)].max() == pytest.approx(1)


@given(st.integers(2, 24), st.integers(0, 9))
def test_the_dendrogram_is_that_of_scipy(count: int, seed: int) -> None:
    names, similarity = made(count, seed)
    theirs = dendrogram(cluster(similarity).merges, no_plot=True)  # its leaves stand at 5, 15, 25 …
    expected = sorted(zip(*np.array(theirs["icoord"]).T[[0, 2]] / 10, *np.array(theirs["dcoord"]).T[[0, 3, 1]]))
    np.testing.assert_allclose(sorted(task_map(names, similarity).branches), expected, atol=1e-12)


def test_the_scale_goes_both_ways_from_0_only_where_something_is_negative() -> None:
    positive = task_map(NAMES, PAIRS)
    assert (positive.low, positive.high, positive.beyond) == (0.1, 0.9, True)
    assert positive.shade(0.1) == 0
    assert [words for _, words in positive.ticks] == ["0.10", "0.50", "0.90"]
    mixed = task_map(NAMES, PAIRS - 0.3 * (PAIRS == 0.25))
    assert (mixed.low, mixed.high) == (-0.9, 0.9)
    assert mixed.shade(0.0) == 0
    assert mixed.shade(-0.45) == mixed.shade(0.45) == pytest.approx(0.5)


def test_alike_tasks_and_a_single_one_have_a_scale_too() -> None:
    for similarity in (np.ones((3, 3)), np.full((2, 2), 0.4), np.zeros((2, 2)), np.ones((1, 1))):
        shown = task_map(NAMES[: len(similarity)], similarity)
        assert (shown.low, shown.high, shown.beyond) == (0, 1, False)
        assert shown.shade(similarity[0, 0]) == similarity[0, 0]


def test_every_cell_says_its_value_and_small_maps_print_it() -> None:
    drawn = standalone(NAMES, PAIRS, "Likeness")
    cells = elements(drawn, "rect", "map-alike")
    titles = [cell.findtext(f"{SVG}title") for cell in cells]
    assert len([title for title in titles if title]) == 16
    assert titles.count("mnli – rte: 0.900") == titles.count("rte – mnli: 0.900") == 1
    assert [value.text for value in elements(drawn, "text", "map-values")].count("0.90") == 2
    for value in elements(drawn, "text", "map-values"):
        inside = [c for c in cells if all(0 < float(value.get(a, 0)) - float(c.get(a, 0)) < 46 for a in "xy")]
        assert [(c.findtext(f"{SVG}title") or "").split(": ")[1] for c in inside] == [f"{value.text}0"]
    names = {name.text for name in elements(drawn, "text", "map-names")}
    assert names == set(NAMES)
    assert not elements(standalone(*made(40), "Likeness"), "text", "map-values")


def test_the_map_is_told_to_those_who_cannot_see_it() -> None:
    drawn = picture(NAMES, PAIRS, "Likeness")
    order = ", ".join(task_map(NAMES, PAIRS).names)
    assert f'role="img" aria-label="Likeness, tasks in the order of their clusters: {order}; most alike: ' in drawn
    assert "least alike: " in drawn
    assert "0.100" in drawn.split("least alike: ")[1].split('"')[0]
    assert ElementTree.fromstring(standalone(NAMES, PAIRS, "Likeness")).findtext(f"{SVG}title") == "Likeness"


@pytest.mark.parametrize("count", [1, 2, 4, 20, 100, MOST])
@pytest.mark.parametrize("width", [343, 900])
def test_any_number_of_tasks_fits_the_width(count: int, width: int) -> None:
    names, similarity = made(count)
    names[0] = "a name that is longer than there is room for in any map"
    drawn = Drawing(task_map(names, similarity), "Likeness", width)
    assert drawn.cell >= 1
    assert drawn.left + drawn.side <= drawn.width <= width
    assert drawn.font <= drawn.cell
    assert max(len(drawn.fitted(name)) for name in names) * drawn.font * 0.56 <= drawn.left


def test_names_are_escaped_and_only_shortened_where_they_must_be() -> None:
    drawn = standalone(["<b>&", "twenty-two letters one"], np.eye(2), "a < b")
    names = [name.text for name in elements(drawn, "text", "map-names")]
    assert sorted(set(names)) == ["<b>&", "twenty-two letters one"]


def test_a_file_has_its_colours_inside() -> None:
    drawn = standalone(*made(5), "Likeness")
    style = ElementTree.fromstring(drawn).findtext(f"{SVG}style") or ""
    light, dark = (style.split("@media")[part] for part in (0, 1))
    for theme, ink in zip((light, dark), colours()):
        assert f".map-alike {{ fill: {ink['alike']}; }}" in theme
        assert f".map-paper {{ fill: {ink['paper']}; }}" in theme
    assert "var(" not in drawn
    used = {name for g in ElementTree.fromstring(drawn).iter() for name in (g.get("class") or "").split()}
    assert {name for name in used if f".{name} " not in style} == set()


def luminance(colour: np.ndarray) -> float:
    """Relative luminance as WCAG 2 defines it, of sRGB in 0 to 1."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("side", ["alike", "opposite"])
def test_values_can_be_read_on_every_shade(theme: int, side: str) -> None:
    ink = {}
    for name, code in colours()[theme].items():
        digits = code[1:] if len(code) == 7 else "".join(2 * digit for digit in code[1:])
        ink[name] = np.array([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    shown = task_map(NAMES[:3], np.array([[1, -1, 1], [-1, 1, 1], [1, 1, 1.0]]))
    for value in np.linspace(0, 1, 101):
        cell = luminance(ink["paper"] + value * (ink[side] - ink["paper"]))
        words = luminance(ink["on-strong" if shown.strong(value) else "on-weak"])
        assert (max(cell, words) + 0.05) / (min(cell, words) + 0.05) >= 4.45  # 4.58 is what one threshold can reach


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UserError, match=f"at most {MOST} tasks, got {MOST + 1}; choose some"):
        task_map(*made(MOST + 1))
    for names, similarity in ((NAMES, np.eye(3)), ([], np.eye(0)), (["x"], np.ones(1))):
        with pytest.raises(ValueError, match="names for similarities of shape"):
            task_map(names, similarity)
