from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.reports import figures


@given(st.one_of(st.none(), st.floats(-1e300, 1e300), st.sampled_from([math.nan, math.inf, -math.inf])))
def test_what_is_not_a_number_is_a_dash_everywhere(value: float | None) -> None:
    wordings = (figures.number, figures.signed, figures.share, figures.times, figures.duration, figures.memory)
    for wording in (*wordings, figures.milliseconds):
        text = wording(value)
        if value is None or not math.isfinite(value):
            assert text == figures.NONE
        else:
            assert text[-1] not in figures.NONE
            assert "nan" not in text.lower()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (figures.number(-0.04), "0.0"),
        (figures.number(-1234.56), "−1,234.6"),
        (figures.signed(0.04), "+0.0"),
        (figures.signed(-2.0), "−2.0"),
        (figures.times(1.0007), "1.0007×"),
        (figures.times(1.0), "1.00×"),
        (figures.times(8), "8.00×"),
        (figures.duration(59.7), "60 s"),
        (figures.duration(600), "10.0 min"),
        (figures.duration(7200), "2.0 h"),
        (figures.memory(812.4), "812 MB"),
        (figures.memory(1500), "1.5 GB"),
        (figures.interval((-1.0, 2.04)), "[−1.0, 2.0]"),
        (figures.interval(None), ""),
        (figures.listing([]), ""),
        (figures.listing(["a"]), "a"),
        (figures.listing(["a", "b", "c"]), "a, b and c"),
        (figures.listing(["a, x", "b", "c"]), "a, x; b and c"),
    ],
)
def test_wordings(text: str, expected: str) -> None:
    assert text == expected
