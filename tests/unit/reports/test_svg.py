from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from multigraft.reports.svg import Scale, el, short, spaced, span, tick_label


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 9))
def test_ticks_are_few_inside_and_evenly_spaced(low: float, size: float, most: int) -> None:
    scale = Scale(low, low + size, 0, 100)
    ticks = scale.ticks(most)
    assert len(ticks) <= most + 1
    assert all(low - size * 1e-6 <= tick <= low + size * (1 + 1e-6) for tick in ticks)
    if most >= 4:
        assert len(ticks) >= 1
    assert len({tick_label(tick, ticks) for tick in ticks}) == len(ticks)


@given(st.lists(st.floats(0, 200), max_size=12))
def test_labels_are_spaced_within_their_limits(places: list[float]) -> None:
    moved = spaced(sorted(places), 12, 0, 200)
    assert all(b - a >= 12 - 1e-9 for a, b in pairwise(moved))
    assert all(-1e-9 <= place <= 200 for place in moved)


@given(st.lists(st.one_of(st.none(), st.floats())))
def test_a_span_is_always_one_to_scale_by(values: list[float | None]) -> None:
    low, high = span([v for v in values if v is None or not abs(v) > 1e100])
    assert math.isfinite(low)
    assert low < high


@given(st.text(), st.floats(0, 300))
def test_shortened_names_fit(words: str, width: float) -> None:
    assert len(short(words, width)) <= max(width / 5.9, 3)
    assert short("one shared encoder (annealed)", 120).endswith("aled)")


def test_elements_escape_what_they_are_given() -> None:
    made = el("text", "<b>", el("title", "a&b"), class_="x", text_anchor='"', missing=None, x=1.0)
    assert made == '<text class="x" text-anchor="&#34;" x="1">&lt;b&gt;<title>a&amp;b</title></text>'


def test_a_logarithmic_scale_has_powers_of_ten() -> None:
    scale = Scale(0.005, 20, 0, 100, log=True)
    assert scale.ticks() == [0.01, 0.1, 1.0, 10.0]
    assert scale(20) == 100
