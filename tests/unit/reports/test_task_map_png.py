"""The task map as PNG: the same picture as the SVG, and one line where it cannot be made."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from io import BytesIO

import numpy as np
import pytest

from multigraft.errors import UserError
from multigraft.reports.task_map import WIDTH, Drawing, task_map
from multigraft.reports.task_map_png import png

SIMILARITY = np.array([[1, -0.5, 0.9], [-0.5, 1, -0.2], [0.9, -0.2, 1]])
NAMES = ["mnli", "$x_$", "rte"]  # the second would be a formula, an unfinished one
needs_matplotlib = pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is an extra")


def pixels(content: bytes) -> np.ndarray:
    """Height x width x RGB, in 0 to 1."""
    from matplotlib.image import imread

    return np.asarray(imread(BytesIO(content), format="png"))[..., :3]


@needs_matplotlib
def test_cells_have_the_colours_of_their_values() -> None:
    drawn = Drawing(task_map(NAMES, SIMILARITY), "Likeness", WIDTH)
    image = pixels(png(NAMES, SIMILARITY, "Likeness"))
    assert image.shape[1] / (drawn.width + 32) == pytest.approx(3, abs=0.02)
    for (row, column), value in np.ndenumerate(drawn.shown.values):
        corner = np.array([drawn.top + row * drawn.cell, drawn.left + column * drawn.cell]) + 16 + 5
        y, x = np.round(corner * 3).astype(int)
        red, _, blue = image[y, x]
        assert (blue > red) == (value > 0)
    diagonal, weak = ((drawn.shown.values == value).nonzero() for value in (1, -0.2))
    places = [
        (drawn.top + where[0][0] * drawn.cell, drawn.left + where[1][0] * drawn.cell) for where in (diagonal, weak)
    ]
    strong, pale = (image[int((y + 21) * 3), int((x + 21) * 3)].sum() for y, x in places)
    assert strong < pale


@needs_matplotlib
def test_it_is_the_same_file_each_time() -> None:
    assert png(NAMES, SIMILARITY, "Likeness") == png(NAMES, SIMILARITY, "Likeness")


@needs_matplotlib
@pytest.mark.parametrize("count", [1, 2, 40])
def test_few_and_many_tasks_can_be_drawn(count: int) -> None:
    assert pixels(png([str(i) for i in range(count)], np.eye(count), "Likeness")).std() > 0


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.colors", None)
    with pytest.raises(UserError, match=r"needs matplotlib; pip install 'multigraft\[plots\]', or write an \.svg file"):
        png(NAMES, SIMILARITY, "Likeness")
